"""Finetune in this process; or in those that torchrun or accelerate has already started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.launch.follow import hand_over
from pipeline.launch.job import Job

if TYPE_CHECKING:
    from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
    from pipeline.stage import Stage

__all__ = ["Joined", "Local", "started_processes", "trains"]


def started_processes() -> int:
    """Return how many processes the launcher of this process has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def trains(stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]) -> bool:
    """Whether the stage has work for several processes; a class says no with `trains = False`."""
    told: bool = getattr(stage, "trains", True)
    return told


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
        return self.stage.run(given, folder)
