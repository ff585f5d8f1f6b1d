"""Columns with a list in each row, whose parts are checked as if each had a row of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import StageError
from pipeline.rows import Raw
from pipeline.tasks.labels import check_labels
from pipeline.tasks.text import is_empty

__all__ = ["check_label_lists", "flat", "having", "lists_of"]


def lists_of(raw: Raw, column: str) -> list[list[Any]]:
    """Return a column of lists; they were checked."""
    return [list(each) for each in raw.column(column)]  # type: ignore[call-overload]  # lists


def having(raw: Raw, column: str, values: Sequence[object]) -> Raw:
    """Return the rows with other values in a column."""
    columns = {**raw.rows.columns, column: list(values)}
    return replace(raw, rows=replace(raw.rows, columns=columns))


def flat(raw: Raw, column: str) -> Raw:
    """Return that column alone, each part of its lists in a row that has the list's own place."""
    parts: list[object] = []
    places: list[int] = []
    for place, each in zip(raw.rows.places, lists_of(raw, column), strict=True):
        parts += each
        places += [place] * len(each)
    return replace(raw, rows=replace(raw.rows, columns={column: parts}, places=places))


def check_label_lists(raw: Raw, column: str) -> None:
    """Refuse what cannot be the name of a class inside of the lists of a column.

    Raises:
        StageError: Has the place of the list.
    """
    parts = flat(raw, column)
    for row, label in enumerate(parts.column(column)):
        if is_empty(label):
            raise StageError(f"{parts.where(row)}: {column!r} has an empty label in its list")
    if len(parts):
        check_labels(parts, column)
