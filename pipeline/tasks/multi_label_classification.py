"""Any number of labels for a text or a pair of texts, none of them included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from pipeline.errors import StageError
from pipeline.tasks.labels import as_word, label_numbers, sorted_names
from pipeline.tasks.lists import check_label_lists, flat, having, lists_of
from pipeline.tasks.sequence import SequenceTask
from pipeline.tasks.text import needed_label, shortened

if TYPE_CHECKING:
    from pipeline.rows import Raw
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "MultiLabelClassification"]

_NAME = "multi_label_classification"
_BETWEEN = ";"
"""Between the labels of a row in a format without lists, which is CSV. A comma would be the
delimiter of most files, and stands inside of labels."""


class MultiLabelClassification(SequenceTask):
    """Binary cross-entropy of each label, summed over the labels, mean over the rows.

    The sum keeps the loss of one label in a row as large as it is for a single label, however many
    labels there are; transformers' own is the mean over both, smaller by the number of labels.
    The metrics call a label chosen where its logit is above 0, a probability above one half.
    """

    problem_type: str | None = "multi_label_classification"
    best_metric = "micro_f1"
    greater_is_better = True

    def check(self, raw: Raw, wanted: Wanted) -> None:
        SequenceTask.check(self, raw, wanted)
        label = needed_label(wanted, _NAME)
        apart = _apart(raw, label)
        check_label_lists(apart, label)
        for row, labels in enumerate(lists_of(apart, label)):
            _check_once(apart, row, label, labels)

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        label = needed_label(wanted, _NAME)
        names = sorted_names(flat(_apart(train, label), label).column(label))
        if not names:
            raise StageError(f"data.label_column: {label!r} names no label in any training row")
        return names

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        """Return for each row a 1.0 for each label it has and a 0.0 for each other."""
        label = needed_label(wanted, _NAME)
        apart = _apart(raw, label)
        numbers = iter(label_numbers(flat(apart, label), label, names))
        targets = []
        for labels in lists_of(apart, label):
            target = [0.0] * len(names)
            for _ in labels:
                target[next(numbers)] = 1.0
            targets.append(target)
        return targets

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        return None

    def labels_in(self, target: Any, names: Sequence[str]) -> Sequence[str]:
        return [name for name, has in zip(names, target, strict=True) if has]

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        """Return the summed loss of every label of every row, divided by the rows of the step.

        Args:
            logits: (rows, labels).
            labels: (rows, labels) of 0.0 and 1.0.
            items: Rows.
        """
        summed = functional.binary_cross_entropy_with_logits(
            logits.float(), labels, reduction="sum"
        )
        return summed / items

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        chosen = (logits > 0).cpu().numpy()
        return list(zip(chosen, labels.cpu().numpy() > 0, strict=True))

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        """Return micro and macro F1, and the share of rows with exactly the right labels."""
        from sklearn.metrics import f1_score

        chosen, labels = (np.stack(each) for each in zip(*judged, strict=True))
        micro = macro = float(f1_score(labels.ravel(), chosen.ravel(), zero_division=0.0))
        if labels.shape[1] > 1:  # one column would be taken for two classes
            macro = float(f1_score(labels, chosen, average="macro", zero_division=0.0))
        return {
            "micro_f1": micro,
            "macro_f1": macro,
            "exact_match": float((chosen == labels).all(axis=1).mean()),
        }


def _apart(raw: Raw, column: str) -> Raw:
    """Return the rows with a list of labels each; a text is cut where labels end.

    Raises:
        StageError: A value is neither a list nor a text, or there are both; has its place.
    """
    values = raw.column(column)
    listed = any(isinstance(value, list) for value in values)
    lists: list[object] = []
    for row, value in enumerate(values):
        if listed and not isinstance(value, list):
            raise StageError(
                f"{raw.where(row)}: {column!r} is {shortened(value)}, not a list of labels as in "
                "other rows; write [] for none"
            )
        if not isinstance(value, list | str | None):
            raise StageError(
                f"{raw.where(row)}: {column!r} is {shortened(value)}, not a list of labels, nor a "
                f"text with {_BETWEEN!r} between them"
            )
        if isinstance(value, list):
            lists.append(value)
        else:
            lists.append([each.strip() for each in (value or "").split(_BETWEEN) if each.strip()])
    return having(raw, column, lists)


def _check_once(raw: Raw, row: int, column: str, labels: Sequence[object]) -> None:
    words = [as_word(label) for label in labels]
    twice = next((word for word in words if words.count(word) > 1), None)
    if twice is not None:
        vector = set(words) <= {"0", "1"}
        advice = "the names of the row's labels, not a 0 or 1 for each" if vector else "it once"
        raise StageError(
            f"{raw.where(row)}: {column!r} has the label {twice!r} twice; write {advice}"
        )


TASK = MultiLabelClassification()
