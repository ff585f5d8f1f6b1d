"""One label for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from pipeline.tasks.labels import check_labels, label_names, label_numbers
from pipeline.tasks.sequence import SequenceTask
from pipeline.tasks.text import needed_label, refuse_empty

if TYPE_CHECKING:
    from pipeline.rows import Raw
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "SequenceClassification", "accuracy_and_f1"]

_NAME = "sequence_classification"


class SequenceClassification(SequenceTask):
    """Cross-entropy over the labels; accuracy and macro F1."""

    best_metric = "macro_f1"
    greater_is_better = True

    def check(self, raw: Raw, wanted: Wanted) -> None:
        SequenceTask.check(self, raw, wanted)
        label = needed_label(wanted, _NAME)
        refuse_empty(raw, label)
        check_labels(raw, label)

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        return label_names(train.column(needed_label(wanted, _NAME)))

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        return label_numbers(raw, needed_label(wanted, _NAME), names)

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        return targets

    def labels_in(self, target: Any, names: Sequence[str]) -> Sequence[str]:
        return (names[target],)

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        return functional.cross_entropy(logits.float(), labels, reduction="sum") / items

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        chosen = logits.argmax(dim=-1)
        return list(zip(chosen.tolist(), labels.tolist(), strict=True))

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        chosen, labels = (np.array(each) for each in zip(*judged, strict=True))
        return accuracy_and_f1(chosen, labels)


def accuracy_and_f1(chosen: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro F1 of chosen classes, both (rows,) of class numbers."""
    from sklearn.metrics import accuracy_score, f1_score  # slow to import, and only used here

    return {
        "accuracy": float(accuracy_score(labels, chosen)),
        "macro_f1": float(f1_score(labels, chosen, average="macro", zero_division=0.0)),
    }


TASK = SequenceClassification()
