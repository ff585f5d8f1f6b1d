"""What a model is trained to do. One module a task; nothing outside this package asks which.

A task knows the head, how rows become tokens, how examples become a batch, the loss, the metrics,
and which inputs and axes an export has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import ConfigError, among

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["NAMES", "Collate", "Task", "task_named"]

NAMES = ("sequence_classification",)

Collate = Callable[[Sequence[Mapping[str, Any]]], "dict[str, Tensor]"]
"""Pads examples to the longest of them and stacks them into tensors."""


class Task(Protocol):
    """One kind of task, without state."""

    auto_class: str
    """The transformers class whose head fits, such as `AutoModelForSequenceClassification`."""
    peft_task_type: str
    """PEFT's name for it: with it, PEFT keeps the head trainable and saves it."""
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

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        """Return the named free axes of each model input, for the ONNX export."""
        ...


def task_named(name: str) -> Task:
    """Return the task; imports the libraries it needs.

    Raises:
        ConfigError: There is no such task; the message lists those there are.
    """
    if name not in NAMES:
        raise ConfigError(f"model.task: no task {name!r}{among(name, NAMES, 'Tasks')}")
    from pipeline.tasks.sequence_classification import SequenceClassification

    return SequenceClassification()
