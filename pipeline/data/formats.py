"""CSV, JSON Lines and Parquet to rows; whatever is wrong with a file is said with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pipeline.data.lines import LONGEST, Lines
from pipeline.data.named import with_names
from pipeline.rows import Rows

__all__ = ["read_csv", "read_json_lines", "read_parquet"]

_DELIMITERS = ",;\t|"


def read_csv(path: Path, wanted: Collection[str], *, delimiter: str, encoding: str) -> Rows:
    """Read lines of fields; the first has the names of the columns. An empty field is None.

    Raises:
        ValueError: The file is damaged; the message starts with the line.
    """
    csv.field_size_limit(LONGEST)
    reader = csv.reader(Lines(path, encoding), delimiter=delimiter, strict=True)
    records = _records(reader)
    header_line, names = next(records, (1, []))
    if not names:
        raise ValueError("has no line with the names of the columns")
    _check_header(header_line, names, wanted, delimiter)
    chosen: list[tuple[list[object], int]] = []
    columns: dict[str, list[object]] = {}
    for name in wanted:
        if name in names and name not in columns:
            columns[name] = []
            chosen.append((columns[name], names.index(name)))
    places = []
    for line, fields in records:
        if len(fields) != len(names):
            raise ValueError(_ragged(line, fields, names, delimiter))
        for column, index in chosen:
            column.append(fields[index] or None)
        places.append(line)
    return Rows(names=tuple(names), columns=columns, places=places, unit="line")


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Give each record that is not an empty line, with the number of its first line."""
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(_unreadable(line, reader.line_num, str(error))) from error


def _unreadable(first: int, last: int, reason: str) -> str:
    if "unexpected end of data" in reason:
        return f"line {first}: a quote is opened and never closed"
    if "expected after" in reason:
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        return (
            f'{lines}: text follows a closing quote; close each quote, and write "" for a quote '
            "inside of quotes"
        )
    if "field limit" in reason:
        return f"line {first}: a field of more than {LONGEST:,} characters; is a quote not closed?"
    return f"line {first}: {reason}"


def _check_header(line: int, names: list[str], wanted: Collection[str], delimiter: str) -> None:
    """Refuse another delimiter than the given one, and a name that two columns have."""
    others = [other for other in _DELIMITERS if other in names[0] and other != delimiter]
    if len(names) == 1 and others and not {*wanted} & {*names}:
        told = r"\t" if others[0] == "\t" else others[0]
        # The inner quotes are for Hydra, to which ; and | mean something, the outer for the shell.
        raise ValueError(f"has one column {names[0]!r}; set \"data.delimiter='{told}'\"")
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise ValueError(f"line {line}: the column {twice[0]!r} is there twice")


def _ragged(line: int, fields: list[str], names: list[str], delimiter: str) -> str:
    more = len(fields) > len(names)
    advice = f"; a text with {delimiter!r} in it must be in quotes" if more else ""
    count = f"{len(fields)} field{'s' * (len(fields) != 1)}"
    return f"line {line}: {count}, expected {len(names)}{advice}"


def read_json_lines(path: Path, wanted: Collection[str]) -> Rows:
    """Read one JSON object a line. A key that a line lacks is None there.

    Raises:
        ValueError: A line is something else; the message starts with it.
    """
    names: dict[str, None] = {}
    columns: dict[str, list[object]] = {name: [] for name in wanted}
    places = []
    for number, line in enumerate(Lines(path, "utf-8"), start=1):
        if not line.strip():
            continue
        found = _object(line, number)
        names.update(dict.fromkeys(found))
        for name, column in columns.items():
            column.append(found.get(name))
        places.append(number)
    there = {name: column for name, column in columns.items() if name in names}
    return Rows(names=tuple(names), columns=there, places=places, unit="line")


def _object(line: str, number: int) -> Mapping[str, object]:
    try:
        found = json.loads(line, object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"line {number}: not a JSON object on one line: {error.msg} at character {error.colno}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"line {number}: {_shortened(found)} is not a JSON object such as {{...}}")
    return found


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return found


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _shortened(value: object) -> str:
    said = json.dumps(value)
    return said if len(said) <= 40 else f"{said[:40]}..."


def read_parquet(path: Path, wanted: Collection[str]) -> Rows:
    """Read Parquet, as pandas, Arrow, Spark or `datasets` write it; of its columns only `wanted`.

    Raises:
        ValueError: The file is damaged, or a label in it has no name.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"has the column {twice[0]!r} twice")
            there = [name for name in dict.fromkeys(wanted) if name in names]
            table = file.read(columns=there)
            described = _described(file.schema_arrow)
            columns = {
                name: with_names(table[name].to_pylist(), described.get(name)) for name in there
            }
            rows = file.metadata.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"is damaged: {' '.join(str(error).split())}") from error
    return Rows(names=names, columns=columns, places=range(1, rows + 1))


def _described(schema: Any) -> Mapping[str, Any]:
    """Return what `datasets` wrote of each column beside its type: the names of labels."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    from datasets import Features

    described: Mapping[str, Any] = Features.from_arrow_schema(schema)
    return described
