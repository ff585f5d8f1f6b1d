"""The one contract every stage keeps, and the order in which stages meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import (
        AdaptedModel,
        BaseModel,
        Examples,
        ExportedModel,
        TrainedModel,
        View,
    )

__all__ = ["Launch", "Plan", "Stage"]

Given = TypeVar("Given", contravariant=True)
Made = TypeVar("Made", covariant=True)


class Stage(Protocol[Given, Made]):
    """A frozen dataclass whose fields are the keys of its YAML file."""

    def run(self, given: Given, folder: Path) -> Made:
        """Turn `given` into the next artifact.

        Args:
            given: What earlier stages made. Never edited.
            folder: An empty folder that belongs to this stage alone. It moves to its final place
                after the stage returns; paths in the artifact move with it.

        Raises:
            StageError: `given` cannot be handled; the message names the setting to change.
            MachineError: The machine lacks what was asked for.
            CheckError: The work was done and is wrong.
        """
        ...


class Launch(Protocol):
    """Where `finetune` runs: in this process, or in several."""

    def place(
        self, stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]
    ) -> Stage[tuple[AdaptedModel, Examples], TrainedModel]:
        """Return a stage that does what `stage` does, in the processes this launch stands for."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One run, checked. The annotations are the pipeline: each line feeds the next."""

    model: Stage[None, BaseModel]
    data: Stage[BaseModel, Examples]
    adapter: Stage[tuple[BaseModel, Examples], AdaptedModel]
    finetune: Stage[tuple[AdaptedModel, Examples], TrainedModel]
    export: Stage[tuple[TrainedModel, Examples], ExportedModel]
    visualize: Stage[ExportedModel, View]
    launch: Launch
