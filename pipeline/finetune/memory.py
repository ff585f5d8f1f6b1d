"""What to say, and to leave behind, when a training runs out of memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from pipeline.disk import in_bytes
from pipeline.errors import OutOfMemoryError
from pipeline.memory import RowsAtOnce

if TYPE_CHECKING:
    from pipeline.artifacts import Examples
    from pipeline.finetune.engine import Engine

__all__ = ["out_of_memory"]


def out_of_memory(
    engine: Engine, examples: Examples, folder: Path, batch_size: int
) -> OutOfMemoryError:
    """Leave word in the stage's folder of what the next attempt may need; return what to say.

    Args:
        engine: It ran out.
        examples: Which it saw.
        folder: Of the stage.
        batch_size: Rows of an optimizer step.
    """
    args, evaluating = engine.args, engine.evaluating
    of_a_process = -(-batch_size // args.world_size)
    rows = RowsAtOnce(
        training=min(args.per_device_train_batch_size, of_a_process),
        evaluation=min(args.per_device_eval_batch_size, examples.validation_rows),
    ).smaller(evaluating=evaluating, step=batch_size)
    if rows is not None:
        rows.remember(folder)
        return OutOfMemoryError(f"finetune: {rows.ran_out}; the same command does that")
    where = "evaluating" if evaluating else "training"
    size, shorter = "", ""
    if engine.task.reads == "text":
        size = f", of up to {examples.longest} tokens"
        shorter = "lower data.max_length, or "
    return OutOfMemoryError(
        f"finetune: out of memory while {where} with one row at once{size}: "
        f"{_in_use(args.device)}; {shorter}choose a smaller model"
    )


def _in_use(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{in_bytes(total - free)} of {in_bytes(total)} in use on {device}"
    here, own = psutil.virtual_memory(), psutil.Process().memory_info().rss
    return (
        f"this process holds {in_bytes(own)}, and {in_bytes(here.available)} of "
        f"{in_bytes(here.total)} are free"
    )
