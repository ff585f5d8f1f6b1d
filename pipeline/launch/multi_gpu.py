"""Finetune in several processes of this machine, one a GPU, which are started for it."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.errors import MachineError, StoppedError
from pipeline.launch.job import Failure, Job
from pipeline.launch.local import (
    Joined,
    assert_divides,
    logs,
    look_at,
    resumes,
    started_processes,
    trains,
)
from pipeline.launch.processes import end_all, leave_by, run_and_listen
from pipeline.launch.progress import after_step, outlook
from pipeline.memory import until_it_fits

if TYPE_CHECKING:
    from pipeline.stage import Stage

__all__ = ["MultiGpu", "Several"]

log = logging.getLogger(__name__)

_SAID_BY_LAUNCHER = re.compile(r"rank\s*:\s*(\d+) \(local_rank.*?\n\s*exitcode\s*:\s*(-?\d+)")

_WAITED = re.compile(r"(finetune\.timeout=\S+ seconds).*time[d ]*out", re.IGNORECASE)

_CONSEQUENCES = ("LostProcessError",)
"""Errors of a process that explain only when no other process says or shows more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiGpu:
    """Starts `accelerate launch`; without a GPU torchrun, on the CPU."""

    num_processes: int
    main_process_port: int | None
    """Where the processes meet; None takes a free one."""

    def __post_init__(self) -> None:
        if self.num_processes < 1:
            raise ValueError(f"num_processes must be at least 1, got {self.num_processes}")
        if self.main_process_port is not None and not 1 <= self.main_process_port < 2**16:
            raise ValueError(
                f"main_process_port must be from 1 to 65535, got {self.main_process_port}"
            )

    def place(
        self, stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]
    ) -> Stage[tuple[AdaptedModel, Examples], TrainedModel]:
        """Return a stage that starts the processes when it runs, if there is work for them.

        Raises:
            MachineError: Another number of processes was already started around this one.
        """
        started = started_processes()
        if started not in (1, self.num_processes):
            raise MachineError(
                f"launch.num_processes: asked for {self.num_processes} processes, but {started} "
                "were already started; use launch=local, or start one"
            )
        if self.num_processes == 1 or not trains(stage):
            return stage
        if started > 1:
            return Joined(stage=stage)
        return Several(
            stage=stage,
            num_processes=self.num_processes,
            main_process_port=self.main_process_port,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Several:
    """Runs a stage in processes of its own and returns what the first of them made."""

    stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]
    num_processes: int
    main_process_port: int | None

    @property
    def resumes(self) -> bool:
        """As the stage itself."""
        return resumes(self.stage)

    @property
    def logs(self) -> tuple[str, ...]:
        """As the stage itself."""
        return logs(self.stage)

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        return until_it_fits(folder, lambda: self._start(given, folder))

    def _start(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        command = self._command()
        desk = folder.absolute() / ".launch"
        if desk.exists():  # of a process that was killed; its workers are about to notice
            end_all(str(desk))
            shutil.rmtree(desk)
        desk.mkdir()
        path, settings = Job.describe(self.stage)
        job = Job(
            stage=path,
            settings=settings,
            given=given,
            folder=folder.absolute(),
            num_processes=self.num_processes,
            parent=os.getpid(),
            terminal=_terminal(),
        )
        try:
            (desk / "job.json").write_bytes(job.to_json())
            ended = run_and_listen(
                [*command, str(desk)], self._environment(), lambda: _workers(desk)
            )
            if ended.code != 0:
                log.debug("what the launcher said:\n%s", ended.said)  # to the log file of the run
                error = _cause(desk, ended.said, ended.code, self.num_processes)
                if isinstance(error, StoppedError) or not ended.number:
                    raise error
            if ended.number:  # it came before the first step, or after the last
                leave_by(ended.number)
            return TypeAdapter(TrainedModel).validate_json((desk / "result.json").read_bytes())
        finally:
            shutil.rmtree(desk, ignore_errors=True)

    def look(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        assert_divides(self.stage, self.num_processes)
        self._gpus()
        return look_at(self.stage, given, folder)

    def _gpus(self) -> int:
        """Return how many GPUs there are to use; 0: the processes share the CPU."""
        import torch

        found = 0 if getattr(self.stage, "device", None) == "cpu" else torch.cuda.device_count()
        if 0 < found < self.num_processes:
            raise MachineError(
                f"launch.num_processes: asked for {self.num_processes} GPUs, this machine has "
                f"{found}"
            )
        return found

    def _command(self) -> list[str]:
        gpus = self._gpus()
        number, port = str(self.num_processes), self.main_process_port
        if gpus == 0:
            log.info("    no GPU in use: %s processes on the CPU", number)
            where = ["--standalone"] if port is None else [f"--master_port={port}"]
            launcher = ["torch.distributed.run", "--nproc_per_node", number, *where, "-m"]
        else:
            launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", number]
            launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
            launcher += ["--main_process_port", str(port or 0), "--module"]
        return [sys.executable, "-m", *launcher, "pipeline.worker"]

    def _environment(self) -> dict[str, str]:
        """Return ours, with a share of the cores, and with what this process can import."""
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        threads = min(int(os.environ.get("OMP_NUM_THREADS") or cores), cores // self.num_processes)
        return os.environ | {
            "OMP_NUM_THREADS": str(max(1, threads)),
            "PYTHONSAFEPATH": "1",  # `-m` would put the current folder first
            "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        }


def _terminal() -> Path | None:
    try:
        return Path(os.ttyname(sys.stderr.fileno()))
    except (OSError, ValueError):  # not a terminal, or not even a file
        return None


def _workers(desk: Path) -> list[int]:
    """Return the numbers of the processes that have begun to work."""
    told = (file.read_text(encoding="utf-8") for file in desk.glob("pid-*"))
    return [int(number) for number in told if number]


def _cause(desk: Path, said: str, code: int, processes: int) -> Exception:
    """Return the one error that explains why the processes ended."""
    failures = Failure.read_all(desk)
    spoke = {failure.rank for failure in failures}
    silent = [
        (int(rank), int(status))
        for rank, status in _SAID_BY_LAUNCHER.findall(said)
        if int(rank) not in spoke and int(status) != -signal.SIGTERM  # the launcher's own
    ]
    # What one process lost or tripped over when another was killed is a consequence.
    failures.sort(key=lambda failure: (failure.error in _CONSEQUENCES, failure.expected is None))
    first = failures[0] if failures else None
    where, then = after_step(desk.parent), outlook(desk.parent)
    if first is not None and (hung := _hung(first, set(range(processes)) - spoke)) is not None:
        return MachineError(f"finetune: {hung}{where}, and was ended{then}")
    for rank, status in silent:
        if status < 0 and (first is None or first.error in _CONSEQUENCES or first.expected is None):
            return MachineError(
                f"finetune: rank {rank} was killed by signal {-status} "
                f"({signal.Signals(-status).name}){where}, by hand or for want of memory{then}"
            )
        if status > 0 and (first is None or first.error in _CONSEQUENCES):
            return MachineError(
                f"finetune: rank {rank} ended with exit code {status}{where} and no word{then}"
            )
    if first is None:
        told = said.strip().splitlines()
        return MachineError(
            f"finetune: the launcher ended with exit code {code}: {told[-1] if told else 'no word'}"
        )
    error = first.again()
    return MachineError(f"{error}{then}") if first.error in _CONSEQUENCES else error


def _hung(first: Failure, others: set[int]) -> str | None:
    """Return which rank the others waited for in vain, if it was one; None if none hung."""
    waited = _WAITED.search(first.message) if first.error in _CONSEQUENCES else None
    if waited is None or len(others) != 1:
        return None
    return f"rank {others.pop()} gave no word for {waited.group(1)}"
