"""Finetune in this process; or in those that torchrun or accelerate has already started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.errors import MachineError, StageError
from pipeline.launch.follow import hand_over
from pipeline.launch.job import Job
from pipeline.launch.progress import after_step, outlook
from pipeline.stage import KeepsLogs, LooksAhead, Resumes

if TYPE_CHECKING:
    from pipeline.stage import Stage

__all__ = [
    "Joined", "Local", "assert_divides", "logs", "look_at", "resumes", "started_processes",
    "trains",
]  # fmt: skip


def started_processes() -> int:
    """Return how many processes the launcher of this process has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def trains(stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]) -> bool:
    """Whether the stage has work for several processes; a class says no with `trains = False`."""
    told: bool = getattr(stage, "trains", True)
    return told


def assert_divides(
    stage: Stage[tuple[AdaptedModel, Examples], TrainedModel], processes: int
) -> None:
    """Check that each process gets as many rows of a step as the others.

    Raises:
        StageError: It does not.
    """
    rows: int = getattr(stage, "train_batch_size", processes)
    if rows % processes:
        raise StageError(
            f"finetune.train_batch_size: {rows} rows do not divide by {processes} processes; "
            f"use a multiple of {processes}"
        )


def look_at(
    stage: Stage[tuple[AdaptedModel, Examples], TrainedModel],
    given: tuple[AdaptedModel, Examples],
    folder: Path,
) -> TrainedModel:
    """Let the stage look ahead, if it can; else return the model as it is handed on untrained."""
    if isinstance(stage, LooksAhead):
        seen: TrainedModel = stage.look(given, folder)
        return seen
    return TrainedModel(adapted=given[0], folder=given[0].folder, steps=0, best_step=0)


def resumes(stage: object) -> bool:
    """Whether the stage goes on from what a killed attempt left in its folder."""
    return isinstance(stage, Resumes) and stage.resumes


def logs(stage: object) -> tuple[str, ...]:
    """Return the files that only tell how the stage went."""
    return stage.logs if isinstance(stage, KeepsLogs) else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Local:
    """Runs the stage here, with the other processes of this run if there are any."""

    def place(
        self, stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]
    ) -> Stage[tuple[AdaptedModel, Examples], TrainedModel]:
        alone = started_processes() == 1 or not trains(stage)
        return stage if alone else Joined(stage=stage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """Gives the work to the processes that follow this one, and does its own share of it."""

    stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]

    @property
    def resumes(self) -> bool:
        """As the stage itself."""
        return resumes(self.stage)

    @property
    def logs(self) -> tuple[str, ...]:
        """As the stage itself."""
        return logs(self.stage)

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        path, settings = Job.describe(self.stage)
        hand_over(
            Job(
                stage=path,
                settings=settings,
                given=given,
                folder=folder.absolute(),
                num_processes=started_processes(),
                parent=os.getpid(),
            )
        )
        try:
            return self.stage.run(given, folder)
        except MachineError as error:
            if error.exit_code == MachineError.exit_code and (then := outlook(folder)):
                raise type(error)(f"{error}{after_step(folder)}{then}") from error
            raise

    def look(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        assert_divides(self.stage, started_processes())
        return look_at(self.stage, given, folder)
