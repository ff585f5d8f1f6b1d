"""Labels that a data set keeps as numbers, with the names in its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["with_names"]


def with_names(values: Sequence[Any], feature: Any) -> list[Any]:
    """Return the values of a column with the names of labels in place of their numbers.

    Args:
        values: Of the column.
        feature: What the data set says of it: a feature of `datasets`, or None. A `ClassLabel`, or
            a list of them, has names; other values stay as they are.

    Raises:
        ValueError: A label is hidden, or has a number without a name; starts with the row.
    """
    inner = getattr(feature, "feature", None)
    if hasattr(feature, "int2str"):
        return [_word(value, feature, row) for row, value in enumerate(values, start=1)]
    if hasattr(inner, "int2str"):
        return [
            None if each is None else [_word(value, inner, row) for value in each]
            for row, each in enumerate(values, start=1)
        ]
    return list(values)


def _word(number: Any, feature: Any, row: int) -> Any:
    if not isinstance(number, int):
        return number  # none at all, or a name by now
    if number == -1:
        raise ValueError(
            f"row {row}: label is hidden (-1); choose a split with labels, or null to take rows of "
            "the training rows"
        )
    if not 0 <= number < len(feature.names):
        raise ValueError(
            f"row {row}: the label {number} has no name among the {len(feature.names)} of the data "
            "set's description"
        )
    return feature.names[number]
