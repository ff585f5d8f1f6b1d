"""The stage: its settings and their checks. The heavy libraries are imported when it runs."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.disk import as_disk_full
from pipeline.errors import PipelineError, nearest
from pipeline.finetune.guard import newest_checkpoint
from pipeline.finetune.ready import make_ready
from pipeline.memory import until_it_fits

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
    loraplus_lr_ratio: float | None
    """How many times that rate the matrices B of LoRA take (LoRA+); None is the same rate."""
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
    save_steps: float
    """Below 1 a share of all steps, else a number of steps, between two checkpoints; there is one
    after each evaluation as well."""
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
    resumes: ClassVar[bool] = True
    logs: ClassVar[tuple[str, ...]] = ("metrics.jsonl", "gradient_norms.jsonl", "tensorboard")

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be {wanted}, got {getattr(self, name)!r}{self._near(name)}"
            for name, wanted, fits in self._rules()
            if not fits
        ]
        if problems:
            raise ValueError("\n".join(problems))

    def _near(self, name: str) -> str:
        return nearest(self.lr_scheduler_type, SCHEDULES) if name == "lr_scheduler_type" else ""

    def _rules(self) -> list[tuple[str, str, bool]]:
        at_least_1 = [
            "train_batch_size", "per_device_train_batch_size", "per_device_eval_batch_size",
        ]  # fmt: skip
        if self.early_stopping_patience is not None:
            at_least_1.append("early_stopping_patience")
        from_0 = ["weight_decay", "max_grad_norm", "dataloader_num_workers"]
        above_0 = ["num_train_epochs", "learning_rate", "timeout"]
        schedules = f"one of {', '.join(SCHEDULES)}"
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
                "loraplus_lr_ratio",
                "at least 1 and finite, or null",
                self.loraplus_lr_ratio is None or 1 <= self.loraplus_lr_ratio < math.inf,
            ),
            (
                "warmup_steps",
                "in [0, 1) as a share of all steps, or a whole number of steps",
                0 <= warmup < 1 or (1 <= warmup < math.inf and warmup == int(warmup)),
            ),
            (
                "save_steps",
                "in (0, 1) as a share of all steps, or a whole number of steps",
                0 < self.save_steps < 1
                or (1 <= self.save_steps < math.inf and self.save_steps == int(self.save_steps)),
            ),
            (
                "warmup_steps",
                "0 with the schedule constant, which has no warmup (constant_with_warmup has)",
                self.lr_scheduler_type != "constant" or warmup == 0,
            ),
            ("seed", "from 0 to 4294967295", 0 <= self.seed < 2**32),
        ]

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        """Train, or go on where a killed attempt stood; leave in `folder` the best adapter.

        Beside it lie `metrics.jsonl`, `gradient_norms.jsonl` and, if asked for, `tensorboard`.

        Raises:
            StageError: The model has no weights or a task that cannot be trained, a split is empty,
                the batch is larger than it or does not divide by the processes, the warm-up is
                longer than the training, or the head would not train; the message names the
                setting.
            MachineError: No GPU, no such precision, no tensorboard, or another process gave no
                word.
            DiskFullError: Says how much is written and how much is free.
            CheckError: The loss or the gradient is not finite, or explodes; the message names the
                step, its rows and where it began.
            OutOfMemoryError: Not even one row at once fits; or, of several processes, one ran out
                and left word for the next attempt.
        """
        adapted, examples = given
        device, precision = make_ready(self, adapted, examples, looking=False)
        from pipeline.finetune.machine import processes, quiet

        def attempt() -> TrainedModel:
            with quiet(), processes(device, self.timeout):
                from pipeline.finetune.training import train

                return train(self, adapted, examples, folder, device=device, precision=precision)

        try:
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                return attempt()  # one process of several cannot start again
            return until_it_fits(folder, attempt)
        except PipelineError:
            raise
        except Exception as error:
            good = newest_checkpoint(folder / "checkpoints")
            full = as_disk_full(error, folder, stage="finetune", good=good)
            if full is None:
                raise
            raise full from error

    def look(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        """Return the model as it starts, after the checks that `run` begins with."""
        adapted, examples = given
        make_ready(self, adapted, examples, looking=True)
        return TrainedModel(adapted=adapted, folder=adapted.folder, steps=0, best_step=0)
