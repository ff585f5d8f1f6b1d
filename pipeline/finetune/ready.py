"""What can be said of a training before it starts; `run` and `look` say it in the same words."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipeline.errors import MachineError, StageError
from pipeline.tasks import why_untrainable

if TYPE_CHECKING:
    from pipeline.artifacts import AdaptedModel, Examples
    from pipeline.finetune.machine import Device, Precision
    from pipeline.finetune.trainer import Trainer

__all__ = ["make_ready"]


def make_ready(
    settings: Trainer, adapted: AdaptedModel, examples: Examples, *, looking: bool
) -> tuple[Device, Precision]:
    """Return where to train and in which precision.

    Args:
        settings: Of the training.
        adapted: What would be trained.
        examples: What it would learn from.
        looking: Whether both only stand for what is to come, without weights or rows.

    Raises:
        StageError: The model or its task cannot be trained, a split is empty, or a setting does
            not fit the rows.
        MachineError: There is no such device, no such precision, or no tensorboard.
    """
    weights = looking or bool(adapted.base.weights)
    if reason := why_untrainable(weights=weights):
        raise StageError(reason)
    if not looking:
        _assert_rows(examples)
    if examples.train_rows:
        _assert_fits(settings, examples.train_rows)
    if "tensorboard" in settings.report_to and find_spec("tensorboard") is None:
        raise MachineError(
            "finetune.report_to: tensorboard is not installed; "
            "run: pip install 'graft-pipeline[tensorboard]'"
        )
    from pipeline.finetune.machine import find_device, find_precision

    device = find_device(settings.device)
    return device, find_precision(settings.mixed_precision, device)


def _assert_rows(examples: Examples) -> None:
    splits = (("training", examples.train_rows), ("validation", examples.validation_rows))
    for split, rows in splits:
        if rows == 0:
            raise StageError(
                f"data: no {split} rows; finetune needs at least one, or use finetune=none"
            )


def _assert_fits(settings: Trainer, rows: int) -> None:
    batch, warmup = settings.train_batch_size, settings.warmup_steps
    if batch > rows:
        raise StageError(
            f"finetune.train_batch_size: {batch} is more than the {rows} training rows; "
            f"use at most {rows}"
        )
    steps = math.ceil(settings.num_train_epochs * math.ceil(rows / batch))
    if warmup >= max(1, steps):
        raise StageError(
            f"finetune.warmup_steps: {warmup:g} of {steps} steps in all, so the learning rate "
            "would never reach its value; use fewer, or a share of them such as 0.1"
        )
