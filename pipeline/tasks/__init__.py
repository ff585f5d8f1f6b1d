"""What a model is for. One module a task; nothing outside this package asks which.

Every task knows the head, an example to trace the model with, and which axes of its inputs vary:
enough to adapt a model and to draw it. To train one it knows what rows must hold, how they become
numbers and batches, the loss and the metrics.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipeline.errors import ConfigError, among

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks.shown import Shown
    from pipeline.tasks.wanted import Wanted

__all__ = ["NAMES", "Collate", "Task", "task_named", "why_untrainable"]

NAMES = (
    "causal_lm",
    "image_classification",
    "multi_label_classification",
    "regression",
    "seq2seq",
    "sequence_classification",
    "token_classification",
)
"""The modules of this package that are a task."""

Collate = Callable[[Sequence[Mapping[str, Any]]], "dict[str, Tensor]"]
"""Pads examples to the longest of them and stacks them into tensors."""


class Task(Protocol):
    """One kind of task, without state."""

    auto_class: str
    """The transformers class whose head fits, such as `AutoModelForSequenceClassification`."""
    problem_type: str | None
    """What transformers is to be told of the head's outputs; None where its class says it."""
    peft_task_type: str | None
    """PEFT's name for it: with it, PEFT keeps a new head trainable and saves it. None: PEFT has
    none, and is told the name of the head."""
    labelled: bool
    """Whether the head has an output for each label. Such a head is new: it must train."""
    reads: Literal["text", "images"]
    """What its inputs are made of, and so whether a tokenizer or an image processor makes them."""

    def save_processor(self, base: BaseModel, folder: Path) -> None:
        """Write what makes the model's inputs, as transformers loads it."""
        ...

    def example(self, base: BaseModel) -> dict[str, Tensor]:
        """Return a batch to trace a model with, without any data.

        Two rows on the CPU; of texts with different lengths, so that there is padding and a mask:
        int64 (2, at least 8).
        """
        ...

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        """Return the named free axes of each model input, for the ONNX export."""
        ...

    best_metric: str
    """The metric that chooses the best checkpoint."""
    greater_is_better: bool
    """Whether more of it is better."""

    def check_settings(self, wanted: Wanted, base: BaseModel) -> None:
        """Refuse what this model cannot read, before any row is looked at.

        Raises:
            StageError: Names the setting.
        """
        ...

    def check(self, raw: Raw, wanted: Wanted) -> None:
        """Refuse rows of a split that nothing can be learned from.

        Raises:
            StageError: Has the place of the first, or names the setting to change.
        """
        ...

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        """Return what the head's outputs stand for; nothing if they are no labels.

        Raises:
            StageError: There is nothing to tell apart.
        """
        ...

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        """Return what is to be learned of each row.

        Raises:
            StageError: A label is not among the names; has its place.
        """
        ...

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        """Return the group of each row that a split is to have in proportion, if there are any."""
        ...

    def encode(
        self,
        raw: Raw,
        rows: Sequence[int],
        targets: Sequence[Any],
        wanted: Wanted,
        base: BaseModel,
    ) -> dict[str, list[Any]]:
        """Return the columns of a table: the model's inputs, `labels` and `length`.

        `length` orders rows of similar cost. A column `items` counts what the loss of a row sums
        over, if that is not one item a row. A column `cut`, which no table keeps, says of each row
        whether it lost its end; without it none did.

        Args:
            raw: The rows found.
            rows: Which of them, in which order.
            targets: Of all of them.
            wanted: The columns.
            base: Whose tokenizer or image processor makes the inputs.
        """
        ...

    def limit(self, wanted: Wanted, base: BaseModel) -> int | None:
        """Return the tokens at which a row is cut; None if rows are not made of tokens."""
        ...

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        """Return a row that was checked as a person reads it; `target` is what is to be learned."""
        ...

    def labels_in(self, target: Any, names: Sequence[str]) -> Sequence[str]:
        """Return the name of each label in what is to be learned of a row, to be counted."""
        ...

    def collate(self, base: BaseModel) -> Collate:
        """Return the function that makes a batch of a table's rows: tensors, and `labels`."""
        ...

    def resized(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch in another shape, as far as the inputs' axes vary, that a model can read.

        It may leave something out: a batch may be as long as the model reads already.
        """
        ...

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        """Return the summed loss divided by `items`, a scalar in nats.

        `items` counts those of the whole optimizer step, over all micro-batches and processes, so
        that their losses add up to the mean over the step.
        """
        ...

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        """Return, for each row of a batch, the little that the metrics need to know of it."""
        ...

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        """Return the metrics of the rows that were judged.

        Args:
            judged: Of each row.
            names: What the head's outputs stand for, if that is known.
        """
        ...


def task_named(name: str) -> Task:
    """Return the task; imports the libraries it needs.

    Raises:
        ConfigError: There is no such task; the message lists those there are.
    """
    task: Task = _made(name)
    return task


def why_untrainable(*, weights: bool) -> str | None:
    """Return in a sentence why a model cannot be trained, or None if it can.

    Args:
        weights: Whether it has any.
    """
    return None if weights else "model.weights=none has no values to train; use finetune=none"


def _made(name: str) -> Any:
    if name not in NAMES:
        raise ConfigError(f"model.task: no task {name!r}{among(name, NAMES, 'Tasks')}")
    module = importlib.import_module(f"{__name__}.{name}")
    return module.TASK
