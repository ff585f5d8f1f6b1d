"""No data at all: to look at a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import BaseModel, Examples
from pipeline.tasks import task_named

__all__ = ["NoRows"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoRows:
    """Labels for the head, and not a row to learn from."""

    num_labels: int
    """Outputs of the head; of no account for a task whose head has no output a label."""

    def __post_init__(self) -> None:
        if self.num_labels < 1:
            raise ValueError(f"num_labels must be at least 1, got {self.num_labels}")

    def run(self, given: BaseModel, folder: Path) -> Examples:
        numbers = range(self.num_labels) if task_named(given.task).labelled else ()
        labels = tuple(f"LABEL_{number}" for number in numbers)
        log.info("    no rows; %d labels", len(labels))
        return Examples(
            folder=folder,
            task=given.task,
            sources=(),
            revision=None,
            labels=labels,
            train_rows=0,
            validation_rows=0,
            test_rows=0,
            longest=0,
            mean_length=0.0,
        )

    def look(self, given: BaseModel, folder: Path) -> Examples:
        """Do what `run` does: there is nothing to read."""
        return self.run(given, folder)

    def reads(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}
