"""Run a launcher: pass on what its workers log, and leave none of them behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import psutil

__all__ = ["MARK", "Ended", "end_all", "leave_by", "run_and_listen", "signals_as_exceptions"]

MARK = "\x1e"
"""Begins a line that a worker logged: mark, level, logger, message."""

_UNWOUND = ("SIGTERM", "SIGHUP") if sys.platform != "win32" else ("SIGTERM",)

_PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a launcher ended."""

    code: int
    said: str
    number: int
    """Of the signal that was passed on to the workers; 0 if none was."""


def run_and_listen(
    command: Sequence[str], environment: Mapping[str, str], workers: Callable[[], Iterable[int]]
) -> Ended:
    """Run a command to its end.

    Lines that begin with `MARK` are logged here as they come. A signal is passed on to the workers,
    which finish their step and save; a second one, or any other end of this process or this call,
    ends the command and its workers.

    Args:
        command: Of the launcher.
        environment: Of its processes.
        workers: Returns the numbers of the processes that work.
    """
    said: list[str] = []
    passed = PassedOn(workers)
    with signals_as_exceptions(), passed:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us, and we tell the workers
        )
        try:
            for line in process.stdout or ():
                if line.startswith(MARK):
                    _log_again(line)
                else:
                    said.append(line)
            return Ended(code=process.wait(), said="".join(said), number=passed.number)
        finally:
            _end(process)
            if process.stdout is not None:
                process.stdout.close()


class PassedOn:
    """`with` it, the first signal goes to the workers; the second does what it did before."""

    def __init__(self, workers: Callable[[], Iterable[int]]) -> None:
        """Ask `workers` who works when a signal comes."""
        self._workers = workers
        self._before: dict[int, Any] = {}
        self.number = 0
        """Of the signal that was passed on."""

    def __enter__(self) -> PassedOn:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", *_UNWOUND):
                number = getattr(signal, name)
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        heard = [worker for worker in self._workers() if _sent(worker, number)]
        if self.number or not heard:
            leave_by(number)
        self.number = number


def _sent(worker: int, number: int) -> bool:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(worker, number)
        return True
    return False


def leave_by(number: int) -> NoReturn:
    """Unwind this process as the signal does where nothing is in progress."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def end_all(mark: str) -> None:
    """Kill the processes that a killed process left, by a word of their command lines."""
    left = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if each.pid != os.getpid() and mark in each.cmdline():
                each.kill()
                left.append(each)
    psutil.wait_procs(left, timeout=_PATIENCE)


def _log_again(line: str) -> None:
    level, name, message = line.rstrip("\n").removeprefix(MARK).split(MARK, 2)
    logging.getLogger(name).log(int(level), "%s", message)


def _end(process: subprocess.Popen[str]) -> None:
    """End the launcher and everything below it, kindly and then not."""
    if process.poll() is not None:
        return
    launcher = psutil.Process(process.pid)
    everyone = [*launcher.children(recursive=True), launcher]
    for each in everyone:
        _unless_gone(each.terminate)
    _, alive = psutil.wait_procs(everyone, timeout=_PATIENCE)
    for each in alive:
        _unless_gone(each.kill)
    process.wait()


def _unless_gone(act: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        act()


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind this process, as Ctrl-C does, so that `finally` runs."""
    ours = [
        number
        for number in (getattr(signal, name) for name in _UNWOUND)
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in ours:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
