"""One of the processes that `launch=multi_gpu` starts: `python -m pipeline.worker FOLDER`."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from pipeline import errors
from pipeline.artifacts import TrainedModel
from pipeline.errors import MachineError, PipelineError
from pipeline.launch.job import Failure, Job
from pipeline.launch.processes import MARK

__all__ = ["main"]


def main(desk: Path) -> None:
    """Do one process's share of the job in `desk`; leave there the result, or why there is none."""
    rank = int(os.environ.get("RANK", "0"))
    (desk / f"pid-{rank}").write_text(str(os.getpid()), encoding="utf-8")
    job = Job.from_json((desk / "job.json").read_bytes())
    threading.Thread(target=_end_with, args=(job.parent, os.getppid()), daemon=True).start()
    if rank == 0:
        _speak_through_parent(job.terminal)
    try:
        _assert_started(job.num_processes)
        made = job.build().run(job.given, job.folder)
    except PipelineError as error:
        expected = next(cls for cls in type(error).mro() if cls.__name__ in errors.__all__)
        _fail(desk, rank, error, expected.__name__, str(error), error.exit_code)
        sys.exit(error.exit_code)
    except Exception as error:
        _fail(desk, rank, error, None, traceback.format_exc())
        raise
    if rank == 0:
        (desk / "result.json").write_bytes(TypeAdapter(TrainedModel).dump_json(made))


def _assert_started(asked: int) -> None:
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != asked:
        raise MachineError(f"launch: asked for {asked} processes, {started} started")


def _fail(
    desk: Path,
    rank: int,
    error: Exception,
    expected: str | None,
    message: str,
    exit_code: int = 1,
) -> None:
    Failure(
        rank=rank,
        error=type(error).__name__,
        expected=expected,
        message=message,
        exit_code=exit_code,
    ).write(desk)


def _speak_through_parent(terminal: Path | None) -> None:
    """Log to the parent, and draw the progress bar on its terminal, past the launcher's noise."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"{MARK}%(levelno)d{MARK}%(name)s{MARK}%(message)s"))
    ours = logging.getLogger("pipeline")
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    if terminal is not None:
        sys.stderr = terminal.open("w", encoding="utf-8")


def _end_with(*elders: int) -> None:
    """End this process when one of those it works for is gone, perhaps killed without a word."""
    while all(psutil.pid_exists(number) for number in elders) and os.getppid() in elders:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
