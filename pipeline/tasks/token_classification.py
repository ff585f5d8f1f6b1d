"""One label for each word: names in a text, parts of speech."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from pipeline.errors import StageError
from pipeline.tasks.entities import are_chunks, of_entities
from pipeline.tasks.labels import label_names, label_numbers
from pipeline.tasks.lists import check_label_lists, flat, lists_of
from pipeline.tasks.shown import Part, Shown
from pipeline.tasks.text import (
    TextTask,
    check_characters,
    inputs_of,
    needed_label,
    refuse_empty,
    shortened,
)
from pipeline.tasks.words import pieces_of

if TYPE_CHECKING:
    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks import Collate
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "TokenClassification"]

log = logging.getLogger(__name__)

_NAME = "token_classification"
_NONE = -100
"""In the place of a label: nothing is asked of this piece."""


class TokenClassification(TextTask):
    """Cross-entropy over the labels, a word's on its first piece; its mean is over words.

    The metrics are those of whole entities where labels are written for them (`B-LOC`, `I-LOC`,
    `O`), else accuracy and the macro F1 over labels. Words without a piece are in neither.
    """

    auto_class = "AutoModelForTokenClassification"
    peft_task_type: str | None = "TOKEN_CLS"
    labelled = True
    best_metric = "f1"
    greater_is_better = True

    def check_settings(self, wanted: Wanted, base: BaseModel) -> None:
        if len(wanted.inputs) > 1:
            raise StageError(
                f"data.text_pair_column: {_NAME} reads one list of words a row; set it to null"
            )
        tokenizer = base.load_tokenizer()
        if not tokenizer.is_fast:
            raise StageError(
                f"model.task: {_NAME} must know which word each token is of, which "
                f"{type(tokenizer).__name__} does not tell; choose a model with a fast tokenizer "
                "(tokenizer.json)"
            )
        TextTask.check_settings(self, wanted, base)

    def check(self, raw: Raw, wanted: Wanted) -> None:
        ((key, words),) = wanted.inputs.items()
        label = needed_label(wanted, _NAME)
        for name, column in ((key, words), ("label_column", label)):
            refuse_empty(raw, column)
            _check_lists(raw, name, column)
        pairs = zip(lists_of(raw, words), lists_of(raw, label), strict=True)
        for row, (each, labels) in enumerate(pairs):
            if len(each) != len(labels):
                raise StageError(
                    f"{raw.where(row)}: {words!r} has {len(each)} words and {label!r} has "
                    f"{len(labels)} labels; each word needs one"
                )
            _check_words(raw, row, words, each)
        check_label_lists(raw, label)

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        label = needed_label(wanted, _NAME)
        return label_names(flat(train, label).column(label))

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        label = needed_label(wanted, _NAME)
        numbers = iter(label_numbers(flat(raw, label), label, names))
        return [[next(numbers) for _ in each] for each in lists_of(raw, label)]

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        return None

    def encode(
        self,
        raw: Raw,
        rows: Sequence[int],
        targets: Sequence[Any],
        wanted: Wanted,
        base: BaseModel,
    ) -> dict[str, list[Any]]:
        (column,) = wanted.inputs.values()
        words = raw.only(rows).column(column)
        longest = self.limit(wanted, base)
        pieces = pieces_of(words, base.load_tokenizer(), longest)  # type: ignore[arg-type]  # lists
        lengths = [len(ids) for ids in pieces.inputs["input_ids"]]
        labels = []
        for row, length, first in zip(rows, lengths, pieces.first, strict=True):
            if not first:
                raise StageError(
                    f"{raw.where(row)}: the model's tokenizer makes nothing of {column!r} within "
                    f"{longest} tokens; leave out this row, or raise data.max_length"
                )
            labels.append([_NONE] * length)
            for place, word in first:
                labels[-1][place] = targets[row][word]
        items = [len(first) for first in pieces.first]
        if lost := sum(len(targets[row]) for row in rows) - sum(items):
            log.warning(
                "    %s: %d words are left out of training and metrics: they lie beyond %d tokens, "
                "or the tokenizer makes nothing of them",
                raw.key,
                lost,
                longest,
            )
        return {
            **pieces.inputs,
            "labels": labels,
            "length": lengths,
            "items": items,
            "cut": pieces.cut,
        }

    def labels_in(self, target: Any, names: Sequence[str]) -> Sequence[str]:
        return [names[number] for number in target]

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        (column,) = wanted.inputs.values()
        words: Any = raw.column(column)[row]
        tagged = list(zip(words, self.labels_in(target, names), strict=True))
        return Shown(parts=(Part(name=column, words=tagged),), label=None)

    def collate(self, base: BaseModel) -> Collate:
        """Pad with the tokenizer's own padding, and the labels where it pads."""
        from transformers import DataCollatorForTokenClassification

        together = DataCollatorForTokenClassification(
            base.load_tokenizer(), label_pad_token_id=_NONE
        )

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            return dict(together([inputs_of(row) for row in examples]))

        return collate

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        """Return the summed loss of the words of a batch, divided by `items`, the words of a step.

        Args:
            logits: (rows, tokens, labels).
            labels: (rows, tokens); -100 where there is none.
            items: Words with a label.
        """
        summed = functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=_NONE, reduction="sum"
        )
        return summed / items

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        """Return for each row the chosen labels of its words and the right ones: (2, words)."""
        both = np.stack([logits.argmax(dim=-1).cpu().numpy(), labels.cpu().numpy()], axis=1)
        return [row[:, row[1] != _NONE] for row in both]

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        """Return the metrics of entities if the names of the labels are written for them.

        Args:
            judged: Of each row.
            names: Of the labels; without them these are numbers, and no entities.
        """
        from sklearn.metrics import accuracy_score, f1_score

        if names and are_chunks(names):
            return of_entities(judged, names)
        chosen, labels = np.concatenate(judged, axis=1)
        return {
            "accuracy": float(accuracy_score(labels, chosen)),
            "f1": float(f1_score(labels, chosen, average="macro", zero_division=0.0)),
        }


def _check_lists(raw: Raw, key: str, column: str) -> None:
    for row, value in enumerate(raw.column(column)):
        if not isinstance(value, list):
            what = "words" if key == "text_column" else "labels, one a word"
            raise StageError(
                f"{raw.where(row)}: {column!r} is {shortened(value)}, not a list of {what}; set "
                f"data.{key}, in JSON Lines or Parquet (CSV has no lists)"
            )


def _check_words(raw: Raw, row: int, column: str, words: Sequence[object]) -> None:
    for number, word in enumerate(words, start=1):
        if not isinstance(word, str):
            raise StageError(
                f"{raw.where(row)}: word {number} of {column!r} is {shortened(word)}, not text"
            )
        check_characters(raw, row, column, word)


TASK = TokenClassification()
