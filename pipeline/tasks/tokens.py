"""A number of tokens a row, each of which is learned or not: what tasks that write text share."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import StageError
from pipeline.tasks.labels import as_word
from pipeline.tasks.shown import Part, Shown
from pipeline.tasks.text import check_characters, refuse_empty

if TYPE_CHECKING:
    from pipeline.rows import Raw
    from pipeline.tasks.wanted import Wanted

__all__ = [
    "IGNORED",
    "batch_of",
    "check_written",
    "judged_tokens",
    "padded",
    "refuse_pair",
    "tell_cut",
    "token_loss",
    "token_metrics",
    "with_target",
]

log = logging.getLogger(__name__)

IGNORED = -100
"""The label of a token that is not learned."""
_LARGEST = math.log(float(torch.finfo(torch.float64).max)) - 1
"""Nats of which the exponential is still a number."""


def check_written(raw: Raw, column: str) -> None:
    """Refuse what cannot be written by a model; numbers and truth values are, as words.

    Raises:
        StageError: Has the place of the first.
    """
    refuse_empty(raw, column)
    for row, value in enumerate(raw.column(column)):
        if not isinstance(value, str | int | float):
            raise StageError(
                f"{raw.where(row)}: {column!r} holds {type(value).__name__}, not text; set "
                "data.label_column, or null if data.text_column has all there is to learn"
            )
        check_characters(raw, row, column, as_word(value))


def refuse_pair(wanted: Wanted, task: str) -> None:
    """Refuse a second input: there is one text to go on from.

    Raises:
        StageError: There is a second.
    """
    if "text_pair_column" in wanted.inputs:
        raise StageError(
            f"data.text_pair_column: {task} reads one text, got the column "
            f"{wanted.inputs['text_pair_column']!r} as well; use data.text_pair_column=null"
        )


def tell_cut(raw: Raw, cut: int, rows: int, limit: int) -> None:
    """Say how many rows lost their ends."""
    if cut:
        log.warning(
            "    %s: %d of %d rows are longer than data.max_length=%d tokens and lose their ends",
            raw.key,
            cut,
            rows,
            limit,
        )


def with_target(shown: Shown, target: str | None, wanted: Wanted) -> Shown:
    """Return a row with what is to be written, if that has a column of its own."""
    if wanted.label is None:
        return shown
    return replace(shown, parts=(*shown.parts, Part(name=wanted.label, text=target)))


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Return int64 (rows, longest), filled up on the right."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], dtype=torch.long)


def token_loss(logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
    """Return the summed cross-entropy of the learned tokens divided by `items`, nats.

    Args:
        logits: (rows, tokens, words); more tokens than labels are virtual ones before the text.
        labels: (rows, tokens), of the token that stands at the same place of the logits.
        items: Learned tokens of the whole step.
    """
    found, learned = _learned(logits, labels)
    return functional.cross_entropy(found, learned, reduction="sum") / items


def judged_tokens(logits: Tensor, labels: Tensor) -> list[tuple[float, int, int]]:
    """Return of each row the summed loss in nats, and of how many learned tokens how many are hit.

    Takes what `token_loss` takes.
    """
    found, learned = _learned(logits, labels)
    row = (labels != IGNORED).nonzero()[:, 0].cpu()
    loss = functional.cross_entropy(found, learned, reduction="none").double().cpu()
    hit = (found.argmax(dim=-1) == learned).long().cpu()
    sums = torch.zeros(len(labels), dtype=torch.float64).index_add(0, row, loss)
    hits = torch.zeros(len(labels), dtype=torch.long).index_add(0, row, hit)
    count = torch.bincount(row, minlength=len(labels))
    return list(zip(sums.tolist(), hits.tolist(), count.tolist(), strict=True))


def _learned(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the float32 logits and the labels of the learned tokens alone: (learned, words)."""
    kept = labels != IGNORED
    return logits[:, logits.shape[1] - labels.shape[1] :][kept].float(), labels[kept]


def token_metrics(judged: Sequence[Any]) -> dict[str, float]:
    """Return the metrics of what `judged_tokens` returned, over all tokens of all rows.

    Perplexity is exp of the mean loss, at most the largest number there is.
    """
    tokens = sum(count for *_, count in judged)
    mean = math.fsum(loss for loss, *_ in judged) / tokens
    return {
        "perplexity": math.exp(min(mean, _LARGEST)) if not math.isnan(mean) else math.nan,
        "token_accuracy": sum(hits for _, hits, _ in judged) / tokens,
    }


def batch_of(examples: Sequence[Mapping[str, Any]], padding: int) -> dict[str, Tensor]:
    """Return the batch of some rows of a table: `input_ids`, their mask and the labels."""
    rows = [row["input_ids"] for row in examples]
    return {
        "input_ids": padded(rows, padding),
        "attention_mask": padded([[1] * len(row) for row in rows], 0),
        "labels": padded([row["labels"] for row in examples], IGNORED),
    }
