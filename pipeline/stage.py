"""The one contract every stage keeps, and the order in which stages meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, runtime_checkable

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

__all__ = [
    "KeepsLogs",
    "Launch",
    "LooksAhead",
    "Plan",
    "ReadsOutside",
    "Resumes",
    "Runner",
    "Stage",
]

Given = TypeVar("Given", contravariant=True)
Made = TypeVar("Made", covariant=True)
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


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


class Runner(Protocol):
    """Takes a stage's turn: runs it, finds what it made before, or only looks."""

    def run(self, name: str, stage: Stage[_Given, _Made], given: _Given) -> _Made:
        """Return what the stage makes of `given`."""
        ...


@runtime_checkable
class ReadsOutside(Protocol):
    """A stage that reads what no other stage made: data files, weights, a repository."""

    def reads(self) -> Mapping[str, str]:
        """Return what it would read now, each with what identifies the content.

        The sha256 of a file by its absolute path; the commit of a repository by its id. Imports no
        deep-learning library.

        Raises:
            PipelineError: Something is missing; `run` will say so as well.
        """
        ...


@runtime_checkable
class Resumes(Protocol):
    """A stage that goes on from where a killed run of the very same work left off.

    The folder that its `run` is given may then hold what the earlier attempt wrote there.
    """

    resumes: ClassVar[bool]


@runtime_checkable
class KeepsLogs(Protocol):
    """A stage that writes files which tell how it went, and which no later stage reads.

    They differ between two runs that make the same, so they do not count as a part of the result.
    """

    logs: ClassVar[tuple[str, ...]]
    """Names in its folder."""


@runtime_checkable
class LooksAhead(Protocol[Given, Made]):
    """A stage that can say in seconds what `run` would say in hours."""

    def look(self, given: Given, folder: Path) -> Made:
        """Do what `run` does, as far as settings, file headers and torch's meta device go.

        No weight is read and nothing is trained. What comes out stands for the artifact: a model
        without weights, examples without rows in tables.

        Args:
            given: What `look` of earlier stages made.
            folder: An empty folder that is thrown away.

        Raises:
            PipelineError: As `run` would.
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
