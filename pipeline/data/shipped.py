"""Rows that come with the project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.formats import read_json_lines
from pipeline.data.reading import digest, read_file
from pipeline.data.table import SPLITS, Columns
from pipeline.errors import among
from pipeline.rows import Raw, Rows

__all__ = ["Shipped"]

_FOLDER = Path(__file__).parent
_KIND = "JSON Lines"


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
        def read(path: Path) -> Rows:
            return read_json_lines(path, self.wanted)

        return {split: read_file(f, "data.name", _KIND, read) for split, f in self._files().items()}

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of each file, by its absolute path."""
        return dict(digest(file, "data.name", _KIND) for file in self._files().values())

    def _files(self) -> dict[str, Path]:
        return {split: _FOLDER / self.name / f"{split}.jsonl" for split in SPLITS}
