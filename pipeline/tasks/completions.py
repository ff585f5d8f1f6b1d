"""Texts, and prompts with what completes them, become tokens that are learned or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.tokens import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pipeline.rows import Raw
    from pipeline.tasks.wanted import Wanted

__all__ = ["completed", "end_of", "start_of"]


def completed(
    raw: Raw,
    rows: Sequence[int],
    targets: Sequence[Any],
    wanted: Wanted,
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[tuple[list[int], list[int]]]:
    """Give the tokens and labels of texts, or of prompts with what completes them.

    Both are tokenised apart and joined as they are, as they will be when a prompt is all there is.
    """
    column = raw.column(wanted.inputs["text_column"])
    texts = _pieces(tokenizer, [str(column[row]) for row in rows])
    start, end = start_of(tokenizer), end_of(tokenizer)
    if wanted.label is None:
        for text in texts:
            yield [*start, *text, *end], [*[IGNORED] * len(start), *text, *end]
        return
    for prompt, completion in zip(
        texts, _pieces(tokenizer, [targets[row] for row in rows]), strict=True
    ):
        before, learned = [*start, *prompt], [*completion, *end]
        yield before + learned, [IGNORED] * len(before) + learned


def start_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what the tokenizer puts before every text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    return [int(token) for token in ids[: special.index(0)]]


def end_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token that ends a text; none if the tokenizer has no such token."""
    for token in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token is not None:
            return [int(token)]
    return []


def _pieces(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of texts and nothing around them, however long they are."""
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]
