"""A model built from a config: with random weights, or as an architecture alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import BaseModel
from pipeline.errors import StageError, nearest
from pipeline.model.folder import Source, from_folder
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

__all__ = ["FromConfig"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_BYTES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class FromConfig(Source):
    """An architecture without a past: for tests, and to look at a shape of any size.

    Its tokenizer reads text byte by byte, so nothing need be downloaded for it.
    """

    name: str
    """What to call it where others see it."""
    model_type: str
    """As transformers names it: `bert`."""
    config: Mapping[str, Any]
    """Fields of that type's config: `hidden_size`, `num_hidden_layers`, ..."""
    seed: int
    """Decides the weights, if it has any."""

    def run(self, given: None, folder: Path) -> BaseModel:
        import transformers

        known = transformers.CONFIG_MAPPING
        if self.model_type not in known:
            raise StageError(
                f"model.model_type: transformers {transformers.__version__} has no "
                f"{self.model_type!r}{nearest(self.model_type, known)}"
            )
        tokenizer = _bytes_tokenizer()
        fields = {"vocab_size": len(tokenizer), "pad_token_id": 0, **self.config}
        try:
            config = transformers.AutoConfig.for_model(self.model_type, **fields)
            if self.weights == "full":
                self._save_random_weights(config, folder)
            else:
                config.save_pretrained(folder)
        except (TypeError, ValueError) as error:
            raise StageError(f"model.config: {' '.join(str(error).split())}") from error
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", 512)
        if getattr(config, "type_vocab_size", 0) < 2:  # no embedding for a text's number in a pair
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(folder)
        told = f"random weights, seed {self.seed}" if self.weights == "full" else "from its config"
        return from_folder(
            folder,
            folder,
            told=told,
            name=self.name,
            task=self.task,
            dropout=self.dropout,
            weights=self.weights,
            allow_pickle=False,
        )

    def _save_random_weights(self, config: PretrainedConfig, folder: Path) -> None:
        import torch
        import transformers

        task = task_named(self.task)
        torch.manual_seed(self.seed)
        model = getattr(transformers, task.auto_class).from_config(config)
        transformers.utils.logging.disable_progress_bar()  # it is done in a blink
        # A head with an output a label is made when the labels are known.
        (model.base_model if task.labelled else model).save_pretrained(folder)


def _bytes_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer whose words are the 256 bytes, framed by [CLS] and [SEP]."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert len(letters) == _BYTES
    words = {word: number for number, word in enumerate([*_SPECIAL, *letters])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="[UNK]"))  # noqa: S106 - no password
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, **dict(zip(names, _SPECIAL, strict=True))
    )
