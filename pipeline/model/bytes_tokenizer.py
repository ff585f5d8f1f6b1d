"""A tokenizer that needs no download: its words are the 256 bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["WORDS", "bytes_tokenizer", "special_tokens"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_BYTES = 256
WORDS = len(_SPECIAL) + _BYTES
_FRAMES = {
    "both": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "end": ("$A [SEP]", "$A [SEP] $B:1 [SEP]:1"),
}
"""Of a text, and of a pair of them."""
_CHAT = """\
{%- for turn in messages -%}
{{- bos_token + turn['role'] + '\\n' + turn['content'] + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- bos_token + 'assistant\\n' -}}{%- endif -%}"""
"""The layout of ChatML, with the tokens that there are."""


def special_tokens(*, decodes: bool) -> dict[str, int]:
    """Return what the config of a model that writes text says of these words.

    Args:
        decodes: Whether a decoder of its own reads what was written; it starts with padding.
    """
    number = _SPECIAL.index
    told = {"bos_token_id": number("[CLS]"), "eos_token_id": number("[SEP]")}
    return told | ({"decoder_start_token_id": number("[PAD]")} if decodes else {})


def bytes_tokenizer(frame: Literal["both", "end", "none"]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of `WORDS` words.

    Args:
        frame: Of `both`, a text stands between [CLS] and [SEP], as BERT reads it. The others are
            for models that write: [SEP] is the end of a text, put there by the tokenizer or not,
            and a conversation has [CLS] before each turn and [SEP] after it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert len(letters) == _BYTES
    words = {word: number for number, word in enumerate([*_SPECIAL, *letters])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="[UNK]"))  # noqa: S106 - no password
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if frame != "none":
        single, pair = _FRAMES[frame]
        inner.post_processor = processors.TemplateProcessing(
            single=single,
            pair=pair,
            special_tokens=[("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])],
        )
    names = ("pad_token", "unk_token", "cls_token", "sep_token")
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, **dict(zip(names, _SPECIAL, strict=True))
    )
    if frame != "both":
        made.bos_token, made.eos_token = "[CLS]", "[SEP]"
        made.chat_template = _CHAT
    return made
