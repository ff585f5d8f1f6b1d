"""One file becomes a table: what is wrong with the file is said in one line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import HashedFile
from pipeline.data.table import Raw
from pipeline.errors import StageError, nearest

if TYPE_CHECKING:
    from pyarrow import Table

__all__ = ["read_file", "read_json_lines"]

_OPTIONS = {"CSV": "csv", "JSON Lines": "jsonl", "Parquet": "parquet"}
_NOT_TEXT = (b"PK\x03\x04", b"\x1f\x8b")  # zip, which an Excel file is too, and gzip


def read_json_lines(path: Path) -> Table:
    """Read one JSON object a line."""
    from pyarrow import json

    return json.read_json(path, parse_options=json.ParseOptions(newlines_in_values=False))


def read_file(file: Path, key: str, kind: str, read: Callable[[Path], Table]) -> Raw:
    """Read a table whole with `read`, and hash the file.

    Args:
        file: What the user gave.
        key: The setting that names it.
        kind: The format it should have: CSV, JSON Lines or Parquet.
        read: Reads that format; what is wrong with the file is a ValueError.

    Raises:
        StageError: There is no such file, or it is not of this kind; starts with `key`.
    """
    from datasets import Dataset

    path = file.expanduser().absolute()
    if path.is_dir():
        raise StageError(f"{key}: {path} is a folder; expected a {kind} file")
    if not path.is_file():
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StageError(f"{key}: no such file: {path}{nearest(path.name, there)}")
    if path.stat().st_size == 0:
        raise StageError(f"{key}: {path} is empty (0 bytes)")
    with path.open("rb") as stream:
        flaw = _other_kind(stream.read(4096), kind)
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if flaw is not None:
        raise StageError(f"{key}: {path} {flaw}")
    try:
        table = read(path)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise StageError(f"{key}: cannot read {path} as {kind}: {reason}") from error
    names = table.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise StageError(f"{key}: {path} has the column {twice!r} twice")
    hashed = HashedFile(path=path, sha256=digest, size=path.stat().st_size)
    return Raw(Dataset(table), str(path), file=hashed)


def _other_kind(start: bytes, kind: str) -> str | None:
    """Return what a file that begins with `start` obviously is, unless it is of this kind."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"PAR1"):
        found = "Parquet"
    elif start.startswith((b"\xff\xfe", b"\xfe\xff")) or _every_second_is_zero(start[:16]):
        return "looks like UTF-16; convert it to UTF-8"
    elif start.startswith(_NOT_TEXT) or b"\0" in start:
        return "is not a text file; save it as CSV, JSON Lines or Parquet"
    elif re.match(rb"\[\s*\{", text):
        return "is one JSON array; write one object a line, without the brackets"
    else:
        found = "JSON Lines" if text.startswith(b"{") else "CSV"
    if found == kind:
        return None
    return f"is not {kind}, it looks like {found}; use data={_OPTIONS[found]}"


def _every_second_is_zero(start: bytes) -> bool:
    return b"\0" in start and not (any(start[::2]) and any(start[1::2]))
