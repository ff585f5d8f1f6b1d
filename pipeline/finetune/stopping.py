"""SIGTERM and Ctrl-C while training: finish the step, save, and go; a second one goes at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

import torch
import torch.distributed as group

from pipeline.errors import StoppedError

__all__ = ["EvaluationStoppedError", "Stop", "as_loader_worker", "name_of"]

_SAME = 0.5
"""Seconds in which a second signal is the first one again: among several processes it comes from
the launcher as well as from whoever sent it to all."""

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class EvaluationStoppedError(Exception):
    """An evaluation was left before its end; the step before it is what to save."""


class Stop:
    """Whether somebody asked to stop; `with` it, signals ask instead of killing."""

    def __init__(self, mark: Path, processes: int) -> None:
        """Share `mark` with the other processes: it exists when one of them has failed."""
        self._mark, self._processes = mark, processes
        self._before: dict[int, Any] = {}
        self._since = 0.0
        self.number = 0
        """Of the signal that came to this process; 0 before one."""

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._heard) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._processes > 1 and not isinstance(error, StoppedError | None):
            with suppress(OSError):
                self._mark.touch()
        if self.number and error is None:  # it came when nobody asked any more
            signal.raise_signal(self.number)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._mark.exists():  # the launcher ends this process because of another one
            raise SystemExit(128 + number)
        if self.number == 0:
            self.number, self._since = number, now
        elif self._processes == 1 or now - self._since > _SAME:
            os._exit(128 + number)

    def agreed(self, device: torch.device) -> int:
        """Return the signal that came to any of the processes; they all ask at the same moment."""
        if self._processes == 1:
            return self.number
        numbers = torch.tensor([self.number], device=device)
        group.all_reduce(numbers, group.ReduceOp.MAX)
        return int(numbers.item())

    def raise_for(self, number: int, step: int, steps: int) -> NoReturn:
        """End the training, once it is saved.

        Raises:
            StoppedError: Says by what, and where.
        """
        raise StoppedError(
            f"finetune: stopped by {name_of(number)} after step {step} of {steps}; it is saved, "
            "and the same command goes on from there",
            number,
        )


def name_of(number: int) -> str:
    """Return what a user calls a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def as_loader_worker(_: int) -> None:
    """Let a process that loads rows live as long as the one it works for.

    Ctrl-C and many schedulers send their signal to every process there is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _SIGNALS:
        if number != signal.SIGINT:
            signal.signal(number, _once)


def _once(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
