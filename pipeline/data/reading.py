"""A file becomes the rows of a split: what is wrong with it is said in one line."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from pathlib import Path

from pipeline.artifacts import HashedFile
from pipeline.errors import StageError, nearest
from pipeline.rows import Raw, Rows
from pipeline.seal import sha256

__all__ = ["digest", "read_file"]

_OPTIONS = {"CSV": "csv", "JSON Lines": "jsonl", "Parquet": "parquet"}
_START = 4096  # bytes that tell what kind of file it is
_BINARY = {
    b"PK\x03\x04": "is a zip file or a sheet of Excel, not text; save it as CSV, JSON Lines or "
    "Parquet",
    b"\xd0\xcf\x11\xe0": "is a sheet of Excel, not text; save it as CSV, JSON Lines or Parquet",
    b"\x1f\x8b": "is compressed (gzip); run `gunzip` on it",
    b"BZh": "is compressed (bzip2); run `bunzip2` on it",
    b"\xfd7zXZ": "is compressed (xz); run `unxz` on it",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); run `unzstd` on it",
    b"%PDF": "is a PDF, not text; save it as CSV, JSON Lines or Parquet",
    b"version https://git-lfs": "is a git-lfs pointer; run `git lfs pull`",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def read_file(
    file: Path, key: str, kind: str, read: Callable[[Path], Rows], encoding: str = "utf-8"
) -> Raw:
    """Read the rows of a file with `read`, and hash it.

    Args:
        file: What the user gave.
        key: The setting that names it.
        kind: The format it should have: CSV, JSON Lines or Parquet.
        read: Reads that format; what is wrong with the file is a ValueError.
        encoding: Of its text.

    Raises:
        StageError: There is no such file, or it is not of this kind; starts with `key`.
    """
    path = _found(file, key, kind)
    try:
        with path.open("rb") as stream:
            flaw = _other_kind(stream.read(_START), kind, encoding)
        if flaw is not None:
            raise StageError(f"{key}: {path} {flaw}")
        rows = read(path)
        hashed = HashedFile(path=path, sha256=sha256(path), size=path.stat().st_size)
    except OSError as error:
        raise StageError(f"{key}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise StageError(
            f"{key}: {path} {error}{_in_another_encoding(str(error), kind)}"
        ) from error
    return Raw(rows=rows, key=key, origin=str(path), file=hashed)


def digest(file: Path, key: str, kind: str) -> tuple[str, str]:
    """Return the absolute path of a file, and the sha256 of its bytes.

    Raises:
        StageError: There is no such file; starts with `key`.
    """
    path = _found(file, key, kind)
    try:
        return str(path), sha256(path)
    except OSError as error:
        raise StageError(f"{key}: cannot read {path}: {error.strerror}") from error


def _found(file: Path, key: str, kind: str) -> Path:
    """Return the absolute path of a file that is there; a pipe or a device is none."""
    path = _absolute(file)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise StageError(f"{key}: {path} is a link to nothing: {path.readlink()}") from error
        raise StageError(f"{key}: no such file: {path}{_near(path)}") from error
    except (OSError, ValueError) as error:  # no permission, a loop of links, a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise StageError(f"{key}: cannot read {str(path)!r}: {reason}") from error
    if stat.S_ISDIR(status.st_mode):
        raise StageError(f"{key}: {path} is a folder; expected a {kind} file")
    if not stat.S_ISREG(status.st_mode):
        raise StageError(f"{key}: {path} is a pipe or a device; expected a {kind} file")
    if status.st_size == 0:
        raise StageError(f"{key}: {path} is empty (0 bytes)")
    return path


def _absolute(file: Path) -> Path:
    try:
        return file.expanduser().absolute()
    except RuntimeError:  # ~nobody is no user: then it is a name like any other
        return file.absolute()


def _near(path: Path) -> str:
    try:
        return nearest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return f"; nor is there a folder {path.parent}"


def _other_kind(start: bytes, kind: str, encoding: str) -> str | None:
    """Return what a file that begins with `start` obviously is, unless it is of this kind."""
    found = "Parquet" if start.startswith(b"PAR1") else None
    if found is None:
        if flaw := next((says for magic, says in _BINARY.items() if start.startswith(magic)), None):
            return flaw
        if encoding != "utf-8" and kind == "CSV":
            return None  # as the user says
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) or _every_second_is_zero(start):
            return f"looks like UTF-16; convert it to UTF-8{_or_set('utf-16', kind)}"
        if len(_CONTROL.findall(start)) > 0.1 * len(start) or b"\0" in start[:4]:
            return "is not a text file; save it as CSV, JSON Lines or Parquet"
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        if re.match(rb"<(!doctype|html|\?xml)", text, re.IGNORECASE):
            return "is a web page or XML; download or save the rows themselves"
        if re.match(rb"\[\s*\{", text):
            return "is one JSON array; write one object a line, without the brackets"
        found = "JSON Lines" if text.startswith(b"{") else "CSV"
    if found == kind:
        return None
    return f"is not {kind}, it looks like {found}; use data={_OPTIONS[found]}"


def _every_second_is_zero(start: bytes) -> bool:
    """Whether nearly all characters are two bytes of which one is zero: English in UTF-16."""
    pairs = len(start) // 2
    fewer, more = sorted((start[: 2 * pairs : 2].count(0), start[1 : 2 * pairs : 2].count(0)))
    return more > 0.8 * pairs and fewer < 0.2 * pairs


def _in_another_encoding(said: str, kind: str) -> str:
    return f"; convert it to UTF-8{_or_set('cp1252', kind)}" if "is not utf-8" in said else ""


def _or_set(encoding: str, kind: str) -> str:
    return f", or set data.encoding={encoding}" if kind == "CSV" else ""
