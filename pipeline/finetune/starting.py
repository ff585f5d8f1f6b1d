"""Where a training starts: at its beginning, or at a checkpoint of a killed attempt."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list

from pipeline.errors import StageError
from pipeline.finetune.checkpoints import Checkpoints, Progress
from pipeline.finetune.work import assert_same

__all__ = ["FAILED", "find_start"]

log = logging.getLogger("pipeline.finetune")

FAILED = ".failed"
"""Name of the file by which a process tells the others that it has failed."""

_LEFT = ("adapter", ".adapter", ".gone-checkpoints", FAILED)
"""What an attempt may leave that no other one needs."""

_LOGS = ("metrics.jsonl", "gradient_norms.jsonl", "tensorboard")


def find_start(
    folder: Path,
    checkpoints: Checkpoints,
    work: Mapping[str, Any] | None,
    most_rows: int,
    *,
    goes_on: bool = True,
) -> Progress | None:
    """Return what to go on from, the same in all processes; tidy up after a killed attempt.

    Args:
        folder: Of the stage.
        checkpoints: In it.
        work: What this training is; None in all processes but the one that decides.
        most_rows: At once on one device. A checkpoint of a training with more of them has run out
            of memory since.
        goes_on: Whether all that such a training remembers is in its checkpoints.

    Raises:
        StageError: The newest checkpoint is of another training; the message says what differs.
    """
    told: list[str | None] = [None, None]
    if work is not None:
        try:
            told[0] = _decide(folder, checkpoints, work, most_rows, goes_on=goes_on)
        except StageError as error:
            told[1] = str(error)
    name, refusal = broadcast_object_list(told)
    if refusal is not None:
        raise StageError(refusal)
    return None if name is None else checkpoints.read(name)


def _decide(
    folder: Path,
    checkpoints: Checkpoints,
    work: Mapping[str, Any],
    most_rows: int,
    *,
    goes_on: bool,
) -> str | None:
    name = checkpoints.latest()
    start = None if name is None else checkpoints.read(name)
    if start is not None:
        assert_same(checkpoints.folder / start.name, start.work, work)
    if start is not None and not goes_on:
        log.warning("    from the beginning: AdaLoRA's shares of the ranks are in no checkpoint")
        start = None
    if start is not None and start.per_device > most_rows:
        start = None
    for each in _LEFT if start is not None else _LEFT + _LOGS:
        _remove(folder / each)
    if start is None:
        checkpoints.clear()
        return None
    checkpoints.rewind(start)
    log.info("    going on from %s", start.name)
    return start.name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
