"""A stage and its inputs as JSON: what another process needs to do the same work."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

import pipeline.errors
from pipeline.artifacts import AdaptedModel, Examples
from pipeline.errors import StoppedError

if TYPE_CHECKING:
    from pipeline.artifacts import TrainedModel
    from pipeline.stage import Stage

__all__ = ["Failure", "Job"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One run of a stage in several processes."""

    stage: str
    """Path of its class."""
    settings: str
    """Its fields, as JSON."""
    given: tuple[AdaptedModel, Examples]
    folder: Path
    num_processes: int
    parent: int
    """Number of the process that waits for the result: without it nobody wants one."""
    terminal: Path | None = None
    """The device to draw the progress bar on, if that process has one."""

    def build(self) -> Stage[tuple[AdaptedModel, Examples], TrainedModel]:
        """Return the stage."""
        module, _, name = self.stage.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        stage: Stage[tuple[AdaptedModel, Examples], TrainedModel]
        stage = TypeAdapter(cls).validate_json(self.settings)
        return stage

    def to_json(self) -> bytes:
        """Return what `from_json` reads."""
        return TypeAdapter(Job).dump_json(self)

    @staticmethod
    def from_json(told: bytes) -> Job:
        """Read what `to_json` wrote."""
        return TypeAdapter(Job).validate_json(told)

    @staticmethod
    def describe(stage: object) -> tuple[str, str]:
        """Return the path of the class of a stage, and its fields as JSON."""
        cls = type(stage)
        fields = TypeAdapter(cls).dump_json(stage).decode()
        return f"{cls.__module__}.{cls.__qualname__}", fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a process ended: the last thing it writes."""

    rank: int
    error: str
    """Name of the class."""
    expected: str | None
    """Name of the nearest class of `pipeline.errors`; None is a bug."""
    message: str
    """Of an expected error the sentence, of a bug the trace."""
    exit_code: int = 1

    def again(self) -> Exception:
        """Return the error that was raised over there."""
        if self.expected is None:
            return RuntimeError(f"finetune: rank {self.rank} failed\n{self.message}")
        if self.expected == StoppedError.__name__:
            return StoppedError(self.message, self.exit_code - 128)
        error: Exception = getattr(pipeline.errors, self.expected)(self.message)
        return error

    def write(self, desk: Path) -> None:
        """Leave it where the parent looks."""
        (desk / f"failure-{self.rank}.json").write_bytes(TypeAdapter(Failure).dump_json(self))

    @staticmethod
    def read_all(desk: Path) -> list[Failure]:
        """Return those that were left, in the order of the ranks."""
        found = [
            TypeAdapter(Failure).validate_json(file.read_bytes())
            for file in desk.glob("failure-*.json")
        ]
        return sorted(found, key=lambda failure: failure.rank)
