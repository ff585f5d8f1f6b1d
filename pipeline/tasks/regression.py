"""One number for a text or a pair of texts: a rating, a price, how alike two sentences are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from pipeline.errors import StageError
from pipeline.tasks.sequence import SequenceTask
from pipeline.tasks.text import needed_label, refuse_empty, shortened

if TYPE_CHECKING:
    from pipeline.rows import Raw
    from pipeline.tasks.shown import Shown
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "Regression"]

_NAME = "regression"
_LARGEST = float(np.finfo(np.float32).max)


class Regression(SequenceTask):
    """Mean squared error of the head's one output, which is named after the column.

    The numbers are learned as they are, not scaled. The best checkpoint has the smallest `mse`:
    that is what is trained, and unlike a correlation it tells a model that is off by a constant,
    and exists for a single row.
    """

    problem_type: str | None = "regression"
    best_metric = "mse"
    greater_is_better = False

    def check(self, raw: Raw, wanted: Wanted) -> None:
        SequenceTask.check(self, raw, wanted)
        label = needed_label(wanted, _NAME)
        refuse_empty(raw, label)
        _numbers(raw, label)

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        label = needed_label(wanted, _NAME)
        numbers = set(_numbers(train, label))
        if len(numbers) < 2:
            raise StageError(
                f"data.label_column: {label!r} is {numbers.pop():g} in every training row, and so "
                "nothing can be learned"
            )
        return (label,)

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        return _numbers(raw, needed_label(wanted, _NAME))

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        return None

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        return replace(super().shown(raw, row, target, wanted, names), label=f"{target:g}")

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        """Return the summed squares of the errors divided by `items`, the rows of the step.

        Args:
            logits: (rows, 1).
            labels: (rows,) of numbers.
            items: Rows.
        """
        return functional.mse_loss(logits.float().squeeze(-1), labels, reduction="sum") / items

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        return list(zip(logits.squeeze(-1).tolist(), labels.tolist(), strict=True))

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        """Return Pearson's and Spearman's correlation, and the mean squared and absolute error.

        A correlation of what is the same in every row does not exist; it is told as 0.
        """
        from scipy.stats import pearsonr, spearmanr
        from sklearn.metrics import mean_absolute_error, mean_squared_error

        found, wanted = (np.array(each, dtype=np.float64) for each in zip(*judged, strict=True))
        correlated = len(np.unique(found)) > 1 and len(np.unique(wanted)) > 1
        return {
            "pearson": float(pearsonr(found, wanted).statistic) if correlated else 0.0,
            "spearman": float(spearmanr(found, wanted).statistic) if correlated else 0.0,
            "mse": float(mean_squared_error(wanted, found)),
            "mae": float(mean_absolute_error(wanted, found)),
        }


def _numbers(raw: Raw, column: str) -> list[float]:
    """Return the number of each row.

    Raises:
        StageError: A value is none that float32 can hold; has its place.
    """
    numbers = []
    for row, value in enumerate(raw.column(column)):
        number = _number(value)
        if number is None:
            raise StageError(
                f"{raw.where(row)}: {column!r} is {shortened(value)}, not a number such as 4 or "
                f"3.5{_instead(value)}"
            )
        if not abs(number) <= _LARGEST:
            raise StageError(
                f"{raw.where(row)}: {column!r} is {shortened(value)}, which is not finite in "
                "float32; leave out such rows, or divide all by the same number"
            )
        numbers.append(number)
    return numbers


def _number(value: object) -> float | None:
    """Return a number, or the one that a text writes, as CSV does."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # a number in Python alone
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def _instead(value: object) -> str:
    if isinstance(value, str) and _number(value.replace(",", ".")) is not None:
        return "; write a decimal point, not a comma"
    return ""


TASK = Regression()
