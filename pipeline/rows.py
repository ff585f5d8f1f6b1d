"""The rows of one file or split: columns of values, and the place of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.artifacts import HashedFile

__all__ = ["Raw", "Rows"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a file holds."""

    names: tuple[str, ...]
    """Of all columns there are."""
    columns: Mapping[str, list[object]]
    """The values of those that were asked for, if they are there."""
    places: Sequence[int]
    """The number of each row's line, or of the row, from 1."""
    unit: str = "row"
    """What the places count: `line` or `row`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """The rows of one split as they were found, and where: for messages that name a row."""

    rows: Rows
    key: str
    """The setting that names them, such as `data.train`."""
    origin: str
    """The file, or the split of a data set on the hub."""
    file: HashedFile | None = None
    """None: not from one file of this machine."""
    revision: str | None = None
    """The hub's name of the version, if the rows come from there."""

    def __len__(self) -> int:
        return len(self.rows.places)

    def column(self, name: str) -> list[object]:
        """Return the values of a column."""
        return self.rows.columns[name]

    def where(self, row: int) -> str:
        """Return the setting, the file and the line of a row, which is counted from 0."""
        return f"{self.key}: {self.origin} {self.rows.unit} {self.rows.places[row]}"

    def only(self, kept: Sequence[int]) -> Raw:
        """Return the rows with these indices; they keep their places."""
        columns = {name: [of[row] for row in kept] for name, of in self.rows.columns.items()}
        places = [self.rows.places[row] for row in kept]
        return replace(self, rows=replace(self.rows, columns=columns, places=places))
