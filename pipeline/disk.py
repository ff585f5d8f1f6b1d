"""Disks without room: errors that mean it, in whatever words, become one sentence with numbers."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DiskFullError

__all__ = ["as_disk_full", "assert_room", "in_bytes"]

_NUMBERS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EFBIG: "file size limit reached (ulimit -f)",
}
_WORDS = {
    re.compile(r"no space left on device|os error 28\b|errno 28\b|disk full", re.I): errno.ENOSPC,
    re.compile(r"disk quota exceeded|os error 122\b|errno 122\b", re.I): errno.EDQUOT,
    re.compile(r"file too large|os error 27\b|errno 27\b", re.I): errno.EFBIG,
    # torch.save and the zip writer it has from PyTorch name no cause but a position.
    re.compile(r"enforce fail at inline_container.*unexpected pos", re.I): errno.ENOSPC,
}
"""What Rust (safetensors), C++ (onnx, arrow, torch) and Python itself say."""


_THOUSAND = 999.5
"""What is 1000 with three digits."""


def as_disk_full(
    error: BaseException, folder: Path, *, stage: str | None = None, good: str | None = None
) -> DiskFullError | None:
    """Return what to tell the user when an error means that there was no room; else None.

    Args:
        error: With all that caused it, or was being handled when it came.
        folder: What was being written to. It need not exist any more.
        stage: Whose folder it is: the name comes first.
        good: What was saved before and is whole, such as `checkpoint-15`.
    """
    for each in _chain(error):
        if isinstance(each, DiskFullError):
            return each
        number = _number(each)
        if number is not None:
            return DiskFullError(_sentence(number, folder, stage, good))
    return None


def assert_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin what will not fit.

    Args:
        folder: Where to write; it, or a folder above it, exists.
        needed: Bytes, about.
        what: Who needs them: `finetune`.

    Raises:
        DiskFullError: Says how many are needed and how many are free.
    """
    free = _free(folder)
    if needed > free:
        raise DiskFullError(
            f"{what}: needs about {in_bytes(needed)} in {folder}, {in_bytes(free)} free; "
            "free some space, or write elsewhere"
        )


def in_bytes(number: float) -> str:
    """Write a number of bytes with three digits: `61.0 MB`, in units of a thousand."""
    if number < _THOUSAND:
        return f"{number:.0f} bytes"
    units = ["kB", "MB", "GB", "TB"]
    number /= 1000
    while number >= _THOUSAND and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:#.3g} {units[0]}".replace(". ", " ")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                waiting += each.exceptions


def _number(error: BaseException) -> int | None:
    """Return the errno of a lack of room that an error stands for."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _NUMBERS else None
    said = str(error)
    return next((number for words, number in _WORDS.items() if words.search(said)), None)


def _sentence(number: int, folder: Path, stage: str | None, good: str | None) -> str:
    where = f"{stage}: {_NUMBERS[number]}" if stage else _NUMBERS[number]
    kept = f"last good: {good}; " if good else ""
    return (
        f"{where} while writing to {folder}: {in_bytes(_written(folder))} written, "
        f"{in_bytes(_free(folder))} free on {_mount(folder)}; {kept}"
        "free some space, and the same command goes on"
    )


def _written(folder: Path) -> int:
    written = 0
    for above, _, files in os.walk(folder):
        for name in files:
            try:
                written += Path(above, name).lstat().st_size
            except FileNotFoundError:
                continue  # another process tidies up
    return written


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _mount(folder: Path) -> Path:
    """Return where the file system of a folder is mounted."""
    there = _existing(folder)
    return next(each for each in (there, *there.parents) if each.is_mount() or each == each.parent)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
