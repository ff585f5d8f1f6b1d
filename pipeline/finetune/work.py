"""What a training is: its checkpoints are of no use to another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipeline.errors import StageError
from pipeline.seal import contents, digests

if TYPE_CHECKING:
    from pipeline.artifacts import AdaptedModel, Examples
    from pipeline.finetune.trainer import Trainer

__all__ = ["assert_same", "describe"]

_NO_MATTER = {"dataloader_num_workers", "report_to", "save_steps", "timeout"}
"""Settings that change no weight."""


def describe(
    settings: Trainer,
    adapted: AdaptedModel,
    examples: Examples,
    *,
    processes: int,
    device: str,
    precision: str,
) -> dict[str, Any]:
    """Return what decides the weights, in what JSON can hold."""
    told = {f.name: getattr(settings, f.name) for f in fields(settings)}
    every = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in told.items()
        if name not in _NO_MATTER
    }
    weights = {file.path.name: {"sha256": file.sha256} for file in adapted.base.weights}
    return every | {
        "device": device,
        "mixed_precision": precision,
        "the number of processes": processes,
        "torch": torch.__version__,
        "the training data": _of(examples.folder / "train"),
        "the validation data": _of(examples.folder / "validation"),
        "the adapter before training": _of(adapted.folder),
        "the base model": f"{_of(adapted.base.folder)}-{contents(weights)}",
    }


def _of(folder: Path) -> str:
    return contents(digests(folder))


def assert_same(checkpoint: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of this training.

    Raises:
        StageError: Says what is different, and what it was and is.
    """
    differences = [
        f"{name} differs"
        if name.startswith("the ") and "number" not in name
        else f"{name} was {then.get(name)} and is {now.get(name)}"
        for name in {**now, **then}
        if then.get(name) != now.get(name)
    ]
    if differences:
        raise StageError(
            f"finetune: {checkpoint.name} is of another training: {', '.join(differences)}; "
            f"change that back, or remove {checkpoint.parent} to start from the beginning"
        )
