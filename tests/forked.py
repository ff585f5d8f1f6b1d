"""Run the command line in a fork of this process, in which torch is already imported.

A fresh `python -m pipeline` takes seconds to import what it needs; a fork takes a tenth of one.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "command_line", "fork", "preload", "start", "wait"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; minus the number of the signal that killed it."""
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A process that runs."""

    pid: int
    folder: Path
    started: float


def preload() -> None:
    """Import once what every child would import."""
    import torch
    import transformers  # noqa: F401 - imported for the children

    torch.set_num_threads(1)


def start(
    function: Callable[[], object],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str | None] | None = None,
) -> Child:
    """Run `function` in a fork; `environment` changes variables, None unsets one."""
    folder = Path(tempfile.mkdtemp(prefix="forked-"))
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid:
        return Child(pid=pid, folder=folder, started=started)
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
        # What pytest put there would keep the words to itself.
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
        sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
        for key, value in (environment or {}).items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        if cwd is not None:
            os.chdir(cwd)
        function()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    except BaseException:  # noqa: BLE001 - it is told, and the process ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: Child, *, timeout: float = 120.0) -> Ended:
    """Wait for the end; a process that takes longer than `timeout` seconds is killed."""
    while True:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            break
        if time.monotonic() - child.started > timeout:
            os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.002)
    stdout, stderr = (
        (child.folder / name).read_text(errors="replace") if (child.folder / name).exists() else ""
        for name in ("stdout", "stderr")
    )
    return Ended(
        code=os.waitstatus_to_exitcode(status),
        stdout=stdout,
        stderr=stderr,
        seconds=time.monotonic() - child.started,
    )


def fork(
    function: Callable[[], object],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str | None] | None = None,
    timeout: float = 120.0,
) -> Ended:
    """Run `function` in a fork to its end."""
    return wait(start(function, cwd=cwd, environment=environment), timeout=timeout)


def command_line(*arguments: str) -> Callable[[], None]:
    """Return a function that does what `python -m pipeline ARGUMENTS` does."""

    def run() -> None:
        import logging

        from pipeline.cli import main

        for handler in logging.getLogger().handlers[:]:  # pytest's
            logging.getLogger().removeHandler(handler)
        sys.argv = ["pipeline", *arguments]
        main()

    return run
