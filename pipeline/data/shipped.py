"""Rows that come with the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.data.reading import read_file, read_json_lines
from pipeline.data.table import SPLITS, Columns, Raw
from pipeline.errors import among

__all__ = ["Shipped"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipped(Columns):
    """A data set in a folder of this package, with its card in `README.md`."""

    name: str
    """Name of the folder, such as `support`."""

    def __post_init__(self) -> None:
        names = sorted(file.parent.name for file in _FOLDER.glob("*/train.jsonl"))
        if self.name not in names:
            raise ValueError(
                f"name: no shipped data set {self.name!r}{among(self.name, names, 'Shipped')}"
            )
        # Not `super()`: a dataclass with slots is a new class, which its methods do not know.
        Columns.__post_init__(self)

    def load(self) -> dict[str, Raw]:
        folder = _FOLDER / self.name
        return {
            split: read_file(folder / f"{split}.jsonl", "data.name", "JSON Lines", read_json_lines)
            for split in SPLITS
        }
