"""Rows from files on this machine: CSV, JSON Lines, Parquet."""

from __future__ import annotations

import codecs
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from pipeline.data.drawn import Drawn
from pipeline.data.formats import read_csv, read_json_lines, read_parquet
from pipeline.data.lines import check_encoding
from pipeline.data.reading import digest, read_file
from pipeline.errors import StageError
from pipeline.rows import Raw, Rows

__all__ = ["Csv", "Files", "JsonLines", "Parquet"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Files(Drawn):
    """One file a split, all of one format, whatever the endings of their names."""

    train: Path
    validation: Path | None
    """None: taken from the training rows, `validation_size` of them."""
    test: Path | None
    """None: taken from the training rows, `test_size` of them."""

    kind: ClassVar[str]
    """Name of the format, for messages."""

    @abstractmethod
    def read(self, path: Path) -> Rows:
        """Read a file whole.

        Raises:
            ValueError: It is damaged; the message starts with the line, and does not name the file.
        """

    @property
    def text_encoding(self) -> str:
        """Python's name of the encoding of the text in the files."""
        return "utf-8"

    def load(self) -> dict[str, Raw]:
        found = {
            split: read_file(file, f"data.{split}", self.kind, self.read, self.text_encoding)
            for split, file in self._files().items()
        }
        _check_distinct(found)
        return found

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of each file, by its absolute path."""
        return dict(digest(f, f"data.{split}", self.kind) for split, f in self._files().items())

    def _files(self) -> dict[str, Path]:
        files = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: file for split, file in files.items() if file is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Csv(Files):
    """Lines of fields; the first line has the names of the columns."""

    delimiter: str
    r"""Between the fields: one character; `\t` is a tab."""
    encoding: str
    """Of the text, as Python names it: `utf-8`, `cp1252`, `utf-16`."""

    kind: ClassVar[str] = "CSV"

    def __post_init__(self) -> None:
        between = self._between
        if len(between) != 1 or not between.isascii() or between in '"\r\n\0':
            raise ValueError(
                rf"delimiter must be one ASCII character (\t is a tab), got {self.delimiter!r}"
            )
        check_encoding(self.encoding)
        Files.__post_init__(self)

    @property
    def _between(self) -> str:
        return "\t" if self.delimiter == r"\t" else self.delimiter

    @property
    def text_encoding(self) -> str:
        return codecs.lookup(self.encoding).name

    def read(self, path: Path) -> Rows:
        return read_csv(path, self.wanted, delimiter=self._between, encoding=self.text_encoding)


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonLines(Files):
    """One JSON object a line."""

    kind: ClassVar[str] = "JSON Lines"

    def read(self, path: Path) -> Rows:
        return read_json_lines(path, self.wanted)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parquet(Files):
    """Parquet, as pandas, Arrow or Spark write it."""

    kind: ClassVar[str] = "Parquet"

    def read(self, path: Path) -> Rows:
        return read_parquet(path, self.wanted)


def _check_distinct(found: Mapping[str, Raw]) -> None:
    """Refuse the same rows twice: a metric on the training rows says nothing."""
    for one, other in combinations(found, 2):
        first, second = found[one].file, found[other].file
        if first is not None and second is not None and first.sha256 == second.sha256:
            raise StageError(
                f"data.{other}: {second.path} is the same file as data.{one}, byte for byte; "
                f"data.{other}=null takes rows of the training rows instead"
            )
