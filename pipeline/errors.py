"""Every error a user can cause, and the exit code each one ends in.

* PipelineError
  + ConfigError       exit 2   the YAML or the command line is wrong; nothing has run yet
  + StageError        exit 2   a stage cannot work on this input; the message names the setting
  + MachineError      exit 3   this machine lacks something: a package, a GPU, a process, a network
    + DiskFullError            there was no room for what had to be written
  + CheckError        exit 4   training or export ran, but its result did not pass its checks
    + OutOfMemoryError         not even one row at a time fits into memory
  + FolderTakenError  exit 75  another process is at work in the run folder
  + StoppedError      exit 130, 143 or 129: Ctrl-C, SIGTERM or SIGHUP came, and the work is saved

Anything else that escapes is a bug of ours: exit 1 and a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CheckError",
    "ConfigError",
    "DiskFullError",
    "FolderTakenError",
    "MachineError",
    "OutOfMemoryError",
    "PipelineError",
    "StageError",
    "StoppedError",
    "among",
    "nearest",
]


class PipelineError(Exception):
    """Base of every error this package raises on purpose. One sentence, no traceback."""

    exit_code = 2


class ConfigError(PipelineError):
    """The composed config does not describe a run; raised before any stage starts."""


class StageError(PipelineError):
    """A stage met an input it cannot handle."""


class MachineError(PipelineError):
    """The machine cannot do what was asked: no GPU, no network, a missing package or process."""

    exit_code = 3


class DiskFullError(MachineError):
    """What had to be written found no room; what was sealed before is whole."""


class CheckError(PipelineError):
    """A stage did its work, and the work is wrong: loss not finite, exports that differ."""

    exit_code = 4


class OutOfMemoryError(CheckError):
    """Training does not fit into memory, however small its micro-batches are."""


class FolderTakenError(PipelineError):
    """The folder that this run would write to is in use by another process."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command works later


class StoppedError(PipelineError):
    """A signal asked to stop; the work so far is sealed, and the same command goes on from it."""

    def __init__(self, message: str, number: int) -> None:
        """Say `message`; `number` is that of the signal, which decides the exit code."""
        super().__init__(message)
        self.exit_code = 128 + number  # 130 for SIGINT, 143 for SIGTERM, as shells do


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or nothing when none is near."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def among(name: str, known: Iterable[str], what: str) -> str:
    """Return the nearest known name, and all of them: `; did you mean 'r'? Known keys: r, bias`.

    Args:
        name: What was given.
        known: What exists, in the order to show.
        what: What to call them, such as `Known keys`.
    """
    names = list(known)
    return f"{nearest(name, names) or '.'} {what}: {', '.join(names) or 'none'}"
