"""Run a launcher: pass on what its workers log, and leave none of them behind."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import psutil

__all__ = ["MARK", "run_and_listen", "signals_as_exceptions"]

MARK = "\x1e"
"""Begins a line that a worker logged: mark, level, logger, message."""

_PATIENCE = 5.0
"""Seconds that a process gets to end by itself."""


def run_and_listen(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said.

    Lines that begin with `MARK` are logged here as they come. Whatever ends this process or this
    call ends the command and its workers.
    """
    said: list[str] = []
    with signals_as_exceptions():
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us, and we end the workers
        )
        try:
            for line in process.stdout or ():
                if line.startswith(MARK):
                    _log_again(line)
                else:
                    said.append(line)
            return process.wait(), "".join(said)
        finally:
            _end(process)
            if process.stdout is not None:
                process.stdout.close()


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
    names = ("SIGTERM", "SIGHUP") if sys.platform != "win32" else ("SIGTERM",)
    ours = [
        number
        for number in (getattr(signal, name) for name in names)
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
