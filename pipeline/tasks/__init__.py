"""What a model is for. One module a task; nothing outside this package asks which.

Every task knows the head, an example to trace the model with, and which axes of its inputs vary:
enough to adapt a model and to draw it. A task that can also be trained knows how rows become
tokens, how examples become a batch, the loss and the metrics.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import ConfigError, StageError, among

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "NAMES",
    "TRAINABLE",
    "Collate",
    "Task",
    "TrainableTask",
    "task_named",
    "trainable_task",
    "why_untrainable",
]

NAMES = ("causal_lm", "sequence_classification")
"""The modules of this package that are a task."""
TRAINABLE = ("sequence_classification",)
"""Those whose task is a `TrainableTask`."""

Collate = Callable[[Sequence[Mapping[str, Any]]], "dict[str, Tensor]"]
"""Pads examples to the longest of them and stacks them into tensors."""


class Task(Protocol):
    """One kind of task, without state."""

    auto_class: str
    """The transformers class whose head fits, such as `AutoModelForSequenceClassification`."""
    peft_task_type: str
    """PEFT's name for it: with it, PEFT keeps a new head trainable and saves it."""
    labelled: bool
    """Whether the head has an output for each label. Such a head is new: it must train."""

    def example(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
        """Return a batch to trace a model with, without any data.

        Two rows of different lengths, so that there is padding and a mask: int64, on the CPU,
        (2, at least 8).
        """
        ...

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        """Return the named free axes of each model input, for the ONNX export."""
        ...


class TrainableTask(Task, Protocol):
    """A task that rows of data can teach."""

    best_metric: str
    """The metric, higher is better, that chooses the best checkpoint."""

    def tokenize(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, list[list[int]]]:
        """Turn rows of one or two texts each into the tokenizer's columns, cut at `max_length`."""
        ...

    def collate(self, tokenizer: PreTrainedTokenizerBase) -> Collate:
        """Return the function that makes a batch: int64 tensors (rows, longest) and `labels`."""
        ...

    def loss(self, logits: Tensor, labels: Tensor, rows: Tensor | int) -> Tensor:
        """Return the summed loss divided by `rows`, a scalar in nats.

        `rows` counts the examples of the whole optimizer step, over all micro-batches and
        processes, so that their losses add up to the mean over the step.
        """
        ...

    def metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the metrics of a split; logits (rows, labels), labels (rows,)."""
        ...


def task_named(name: str) -> Task:
    """Return the task; imports the libraries it needs.

    Raises:
        ConfigError: There is no such task; the message lists those there are.
    """
    task: Task = _made(name)
    return task


def trainable_task(name: str) -> TrainableTask:
    """Return the task, to train it or to measure it; imports the libraries it needs.

    Raises:
        ConfigError: There is no such task; the message lists those there are.
        StageError: It cannot be trained; the message says what can be done with it.
    """
    if reason := why_untrainable(name):
        raise StageError(reason)
    task: TrainableTask = _made(name)
    return task


def why_untrainable(name: str, *, weights: bool = True) -> str | None:
    """Return in a sentence why no model for this task can be trained, or None if it can.

    Args:
        name: Of the task.
        weights: Whether the model has any.
    """
    if not weights:
        return "model.weights=none has no values to train; use finetune=none"
    if name in NAMES and name not in TRAINABLE:
        return (
            f"model.task: {name} can be drawn, not trained yet; use finetune=none data=none, or a "
            f"task that can: {', '.join(TRAINABLE)}"
        )
    return None


def _made(name: str) -> Any:
    if name not in NAMES:
        raise ConfigError(f"model.task: no task {name!r}{among(name, NAMES, 'Tasks')}")
    module = importlib.import_module(f"{__name__}.{name}")
    return module.TASK
