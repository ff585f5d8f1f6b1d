"""Rows from files on this machine: CSV, JSON Lines, Parquet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pipeline.data.drawn import Drawn
from pipeline.data.reading import read_file, read_json_lines
from pipeline.data.table import Raw
from pipeline.errors import StageError

if TYPE_CHECKING:
    from pyarrow import Table

__all__ = ["Csv", "Files", "JsonLines", "Parquet"]

_DELIMITERS = ",;\t|"


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
    def read(self, path: Path) -> Table:
        """Read a file whole.

        Raises:
            ValueError: It is damaged; the message need not name the file. Arrow raises these too.
        """

    def load(self) -> dict[str, Raw]:
        files = {"train": self.train, "validation": self.validation, "test": self.test}
        found = {
            split: read_file(file, f"data.{split}", self.kind, self.read)
            for split, file in files.items()
            if file is not None
        }
        _check_distinct(found)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Csv(Files):
    """Lines of fields; the first line has the names of the columns. UTF-8."""

    delimiter: str
    r"""Between the fields: one character; `\t` is a tab."""

    kind: ClassVar[str] = "CSV"

    def __post_init__(self) -> None:
        between = self._between
        if len(between) != 1 or not between.isascii() or between in '"\r\n':
            raise ValueError(
                rf"delimiter must be one ASCII character (\t is a tab), got {self.delimiter!r}"
            )
        Files.__post_init__(self)

    @property
    def _between(self) -> str:
        return "\t" if self.delimiter == r"\t" else self.delimiter

    def read(self, path: Path) -> Table:
        import pyarrow
        from pyarrow import csv

        with path.open("rb") as stream:
            _check_delimiter(stream.readline().decode("utf-8-sig", "replace"), self._between)
        # Arrow would guess: labels 01 and 02 are the numbers 1 and 2, until a file has an x9.
        words = (self.text_column, self.text_pair_column, self.label_column)
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),  # with threads, no row in an error
            parse_options=csv.ParseOptions(delimiter=self._between, newlines_in_values=True),
            # A word such as "null" or "NA" is a text like any other; only nothing is empty.
            convert_options=csv.ConvertOptions(
                null_values=[""],
                strings_can_be_null=True,
                column_types={name: pyarrow.string() for name in words if name is not None},
            ),
        )
        _check_quotes(path, table)
        return table


@dataclass(frozen=True, kw_only=True, slots=True)
class JsonLines(Files):
    """One JSON object a line."""

    kind: ClassVar[str] = "JSON Lines"

    def read(self, path: Path) -> Table:
        return read_json_lines(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parquet(Files):
    """Parquet, as pandas, Arrow or Spark write it."""

    kind: ClassVar[str] = "Parquet"

    def read(self, path: Path) -> Table:
        from pyarrow import parquet

        return parquet.read_table(path)


def _check_delimiter(header: str, delimiter: str) -> None:
    others = [other for other in _DELIMITERS if other in header]
    if delimiter not in header and others:
        told = r"\t" if others[0] == "\t" else others[0]
        # The inner quotes are for Hydra, to which ; and | mean something, the outer for the shell.
        raise ValueError(f"it has one column {header.strip()!r}; set \"data.delimiter='{told}'\"")


def _check_quotes(path: Path, table: Table) -> None:
    """Refuse a quote that nothing closes: to Arrow, all that follows is one long field."""
    last = table.columns[-1][-1].as_py() if table.num_rows else None
    if isinstance(last, str) and "\n" in last and path.read_bytes().count(b'"') % 2 == 1:
        start = last.splitlines()[0]
        raise ValueError(f"row {table.num_rows}: a quote is opened before {start!r}, never closed")


def _check_distinct(found: Mapping[str, Raw]) -> None:
    """Refuse the same rows twice: a metric on the training rows says nothing."""
    for one, other in combinations(found, 2):
        first, second = found[one].file, found[other].file
        if first is not None and second is not None and first.sha256 == second.sha256:
            raise StageError(
                f"data.{other}: {second.path} is the same file as data.{one}, byte for byte; "
                f"data.{other}=null takes rows of the training rows instead"
            )
