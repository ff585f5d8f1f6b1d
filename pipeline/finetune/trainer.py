"""The stage: its settings and their checks. The heavy libraries are imported when it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.errors import StageError, nearest
from pipeline.tasks import why_untrainable

__all__ = ["SCHEDULES", "Trainer"]

SCHEDULES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
    "inverse_sqrt",
)  # fmt: skip
"""Those of transformers that need no further settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainer:
    """Trains with transformers' Trainer; names are its names where the meaning is the same.

    However an optimizer step is cut into micro-batches and processes, its gradient is that of the
    mean loss over its `train_batch_size` rows.
    """

    num_train_epochs: float
    learning_rate: float
    """Peak of the schedule."""
    lr_scheduler_type: str
    """One of `SCHEDULES`."""
    warmup_steps: float
    """Below 1 a share of all steps, else a number of steps, in which the rate rises from 0."""
    weight_decay: float
    """AdamW's; biases and norms are spared."""
    max_grad_norm: float
    """Gradients longer than this are cut to it; 0 leaves them."""
    train_batch_size: int
    """Rows of one optimizer step, over all micro-batches and processes."""
    per_device_train_batch_size: int
    """Most rows at once on one device."""
    per_device_eval_batch_size: int
    mixed_precision: Literal["auto", "no", "bf16", "fp16"]
    """`auto` is what the device computes natively: bf16, else fp16 on a GPU and no on a CPU."""
    early_stopping_patience: int | None
    """Epochs without a better metric before training stops; None never stops."""
    group_by_length: bool
    """Batches of similar length: less padding."""
    device: Literal["auto", "cpu", "cuda"]
    report_to: tuple[Literal["tensorboard"], ...]
    timeout: float
    """Seconds without word from another process until it counts as hung."""
    dataloader_num_workers: int
    seed: int
    """Decides the order of rows and the dropout of every step."""

    trains: ClassVar[bool] = True
    """Whether there is work for more processes than one."""

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be {wanted}, got {getattr(self, name)!r}"
            for name, wanted, fits in self._rules()
            if not fits
        ]
        if problems:
            raise ValueError("; ".join(problems))

    def _rules(self) -> list[tuple[str, str, bool]]:
        at_least_1 = [
            "train_batch_size", "per_device_train_batch_size", "per_device_eval_batch_size",
        ]  # fmt: skip
        if self.early_stopping_patience is not None:
            at_least_1.append("early_stopping_patience")
        from_0 = ["weight_decay", "max_grad_norm", "dataloader_num_workers"]
        above_0 = ["num_train_epochs", "learning_rate", "timeout"]
        schedules = f"one of {', '.join(SCHEDULES)}{nearest(self.lr_scheduler_type, SCHEDULES)}"
        warmup = self.warmup_steps
        return [
            *((name, "at least 1", getattr(self, name) >= 1) for name in at_least_1),
            *(
                (name, "finite and at least 0", 0 <= getattr(self, name) < math.inf)
                for name in from_0
            ),
            *((name, "finite and above 0", 0 < getattr(self, name) < math.inf) for name in above_0),
            ("lr_scheduler_type", schedules, self.lr_scheduler_type in SCHEDULES),
            (
                "warmup_steps",
                "in [0, 1) as a share of all steps, or a whole number of steps",
                0 <= warmup < 1 or (1 <= warmup < math.inf and warmup == int(warmup)),
            ),
            (
                "warmup_steps",
                "0 with the schedule constant, which has no warmup (constant_with_warmup has)",
                self.lr_scheduler_type != "constant" or warmup == 0,
            ),
            ("seed", "from 0 to 4294967295", 0 <= self.seed < 2**32),
        ]

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        """Train, and leave in `folder` the best adapter, two checkpoints and `metrics.jsonl`.

        Raises:
            StageError: The model has no weights or a task that cannot be trained, a split is empty,
                the batch does not divide by the processes, or the head would not train; the message
                names the setting.
            MachineError: No GPU, no such precision, no tensorboard, too little memory, or another
                process gave no word.
            CheckError: The loss or the gradient is not finite; the message names the step.
        """
        adapted, examples = given
        if reason := why_untrainable(adapted.base.task, weights=bool(adapted.base.weights)):
            raise StageError(reason)
        for split, rows in (
            ("training", examples.train_rows),
            ("validation", examples.validation_rows),
        ):
            if rows == 0:
                raise StageError(
                    f"data: no {split} rows; finetune needs at least one, or use finetune=none"
                )
        from pipeline.finetune.machine import find_device, find_precision, processes, quiet

        device = find_device(self.device)
        precision = find_precision(self.mixed_precision, device)
        with quiet(), processes(device, self.timeout):
            from pipeline.finetune.training import train

            return train(self, adapted, examples, folder, device=device, precision=precision)
