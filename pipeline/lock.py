"""One process at a time: locks that the kernel frees when their holder dies, however it dies.

They hold on one machine, and on file systems shared by several only where these support locks.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["holder", "locked", "now_locked", "remove"]

_OFTEN = 0.2
"""Seconds between two looks at a lock that another process holds."""
_SOON = 1.0
"""Seconds in which who has taken a lock will have written its name."""


@contextmanager
def locked(file: Path, *, busy: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of `file` inside the `with` block.

    Args:
        file: Made if need be; who holds it is written beside it.
        busy: Called once, with who holds the lock, before it is waited for; may raise instead.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        busy(holder(file))
        lock.acquire(poll_interval=_OFTEN)
    try:
        _beside(file).write_text(json.dumps(_me()), encoding="utf-8")
        yield
    finally:
        _beside(file).unlink(missing_ok=True)
        lock.release()


def now_locked(file: Path) -> bool:
    """Whether a process holds the lock of `file` at this moment."""
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def remove(file: Path) -> None:
    """Remove the file of a lock that no process holds; who waits for it makes another."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    file.unlink(missing_ok=True)  # while it is held: nobody else can have got it meanwhile
    lock.release()


def holder(file: Path) -> str:
    """Return who holds a lock, in words: `process 4711 on desk, since 2026-11-23T07:54:08`."""
    end = time.monotonic() + _SOON
    while True:
        try:
            told = json.loads(_beside(file).read_text(encoding="utf-8"))
            return f"process {told['pid']} on {told['host']}, since {told['since']}"
        except (OSError, ValueError, KeyError, TypeError):  # it has only just taken it
            if time.monotonic() > end:
                return "another process"
            time.sleep(0.01)


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.holder")


def _me() -> dict[str, str | int]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": since}
