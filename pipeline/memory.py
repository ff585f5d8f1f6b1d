"""Out of memory: recognised in all its words, and answered with half as many rows at once.

How many rows are computed at once changes what a step needs, never which rows it sees. What did not
fit is remembered in the stage's folder, so that the answer is the same for one process that starts
again by itself, for processes that somebody else starts again, and for a run that was killed.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from pipeline.errors import OutOfMemoryError

__all__ = ["RowsAtOnce", "forget", "is_out_of_memory", "remembered", "until_it_fits"]

log = logging.getLogger("pipeline.finetune")

_WORDS = re.compile(
    r"out of memory"  # CUDA, HIP, MPS and XPU allocators, NCCL, and "CUDA error: out of memory"
    r"|DefaultCPUAllocator: (?:can't allocate|not enough) memory"
    r"|\b(?:CUBLAS|CUBLASLT|CUDNN|CUSOLVER|CUSPARSE|CUFFT)_(?:STATUS_)?ALLOC_FAILED"
    r"|CUDNN_STATUS_NOT_SUPPORTED.*alloc"
    r"|CUBLAS_STATUS_NOT_INITIALIZED.*cublasCreate"  # no room for its workspace
    r"|Failed to CUDA [cm]alloc"
    r"|std::bad_alloc"
    r"|could not create a memory object"  # oneDNN
    r"|Cannot allocate memory|Unable to allocate",
    re.IGNORECASE | re.DOTALL,
)
_FILE = ".rows-at-once.json"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsAtOnce:
    """Most rows at once on one device."""

    training: int
    evaluation: int
    ran_out: str = ""
    """What did not fit, and what is done about it; nothing before anything ran out."""

    def smaller(self, *, evaluating: bool, step: int) -> RowsAtOnce | None:
        """Return half as many where memory ran out; None when one row did not fit.

        Args:
            evaluating: Whether it ran out there.
            step: Rows of an optimizer step.
        """
        now = self.evaluation if evaluating else self.training
        half = -(-now // 2)
        if now == 1:
            return None
        if evaluating:
            said = (
                f"out of memory with {now} rows at once in the evaluation; with {half} it goes on"
            )
            return replace(self, evaluation=half, ran_out=said)
        said = (
            f"out of memory with {now} rows at once; starting again with {half}, and twice the "
            f"micro-batches: an optimizer step stays {step} rows"
        )
        return replace(self, training=half, ran_out=said)

    def remember(self, folder: Path) -> None:
        """Write it to the folder of the stage; of several processes the last one wins."""
        draft = folder / f"{_FILE}.draft"
        draft.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        draft.replace(folder / _FILE)


def remembered(folder: Path) -> RowsAtOnce | None:
    """Return what an earlier attempt in this folder left for the next one."""
    try:
        return RowsAtOnce(**json.loads((folder / _FILE).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def forget(folder: Path) -> None:
    """Remove what was remembered: the work is done."""
    (folder / _FILE).unlink(missing_ok=True)


def until_it_fits(folder: Path, attempt: Callable[[], T]) -> T:
    """Attempt again for as long as the last attempt left word that the next one needs less.

    Args:
        folder: Of the stage.
        attempt: Starts with what is `remembered` there.

    Raises:
        OutOfMemoryError: Not even one row fits; or the attempt left no word.
    """
    before = remembered(folder)
    while True:
        try:
            return attempt()
        except OutOfMemoryError:
            after = remembered(folder)
            if after is None or after == before:
                raise
        # The error is gone, and with it the frames that held what the attempt allocated.
        log.warning("    %s", after.ran_out)
        before = after
        _free()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        if isinstance(cause, OSError) and cause.errno is not None:
            if cause.errno == errno.ENOMEM:
                return True
        elif isinstance(cause, RuntimeError | OSError) and _WORDS.search(str(cause)):
            return True
        cause = cause.__cause__
    return False


def _free() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
