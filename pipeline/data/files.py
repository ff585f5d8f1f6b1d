"""Rows from files on this machine: CSV, JSON Lines, Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.table import Columns, Raw
from pipeline.errors import StageError, nearest

if TYPE_CHECKING:
    from pyarrow import Table

__all__ = ["Files", "read_file"]

_READABLE = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Files(Columns):
    """One file a split. The ending of the name says the format."""

    train: Path
    validation: Path | None
    """None: taken from the training rows, `validation_size` of them."""
    test: Path | None
    delimiter: str
    """Between the fields of a CSV file."""

    def load(self) -> dict[str, Raw]:
        files = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            split: read_file(file, f"data.{split}", self.delimiter)
            for split, file in files.items()
            if file is not None
        }


def read_file(file: Path, key: str, delimiter: str = ",") -> Raw:
    """Read a table whole.

    Raises:
        StageError: There is no such file, or it is not what its ending says; starts with `key`.
    """
    from datasets import Dataset
    from pyarrow import ArrowInvalid

    path = file.expanduser()
    if path.is_dir():
        raise StageError(f"{key}: {path} is a folder; expected a file: {', '.join(_READABLE)}")
    if not path.is_file():
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StageError(f"{key}: no such file: {path.absolute()}{nearest(path.name, there)}")
    if path.suffix not in _READABLE:
        raise StageError(f"{key}: {path.name} has an unknown ending; known: {', '.join(_READABLE)}")
    if path.stat().st_size == 0:
        raise StageError(f"{key}: {path} is empty (0 bytes)")
    try:
        table = _read(path, delimiter)
    except (ArrowInvalid, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise StageError(f"{key}: cannot read {path} as {path.suffix[1:]}: {reason}") from error
    names = table.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StageError(f"{key}: {path} has the column {twice!r} twice")
    return Raw(Dataset(table), str(path))


def _read(path: Path, delimiter: str) -> Table:
    from pyarrow import csv, json, parquet

    if path.suffix == ".parquet":
        return parquet.read_table(path)
    if path.suffix in (".json", ".jsonl"):
        return json.read_json(path, parse_options=json.ParseOptions(newlines_in_values=False))
    between = "\t" if path.suffix == ".tsv" else delimiter
    parsing = csv.ParseOptions(delimiter=between, newlines_in_values=True)
    # A word such as "null" or "NA" is a text like any other; only nothing at all is empty.
    converting = csv.ConvertOptions(null_values=[""], strings_can_be_null=True)
    return csv.read_csv(path, parse_options=parsing, convert_options=converting)
