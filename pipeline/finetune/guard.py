"""Whether the numbers of a step can be believed: asked before they change a weight."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

__all__ = ["Guard", "as_ranges", "newest_checkpoint"]

_LOSS = 100.0
"""Times its start that a loss may be. A head that starts from random values loses about ln(labels),
so this is beyond what a model that answers with certainty and is always wrong would pay; noise and
a rate that is merely too high stay below ten times."""

_SMALLEST_LOSS = 0.1
"""What a start counts as at least: a model that is right from the start may well lose 0.001 then
and 0.1 at a row with a wrong label."""

_NORM = 1e4
"""Times the longest gradient so far, and 1 at least, that a gradient may be long: float32 has seven
digits, of which a sum with such a step keeps three."""

_SEEN = 3
"""Steps after which lengths are compared: at the first ones half of a LoRA has no gradient yet."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)(?:-unevaluated)?")

_PIECES = 8
"""Ranges of rows that are spelled out."""


class Guard:
    """Compares the loss and the gradient of each step with those before."""

    def __init__(self) -> None:
        """Expect the first step."""
        self._first_loss: float | None = None
        self._longest = 0.0
        self._seen = 0

    def look(self, loss: float, norm: float, *, may_skip: bool = False) -> str | None:
        """Return in a few words what is wrong with a step; None lets it happen.

        Args:
            loss: Mean over the rows of the step.
            norm: Length of its whole gradient, before it is cut.
            may_skip: Whether a gradient that is not finite would be skipped: fp16 meets some while
                it looks for its loss scale.
        """
        if not math.isfinite(loss):
            return f"the training loss is {loss}"
        if self._first_loss is None:
            self._first_loss = loss
        if loss > _LOSS * max(self._first_loss, _SMALLEST_LOSS):
            return (
                f"the training loss, {loss:.3g}, is {loss / max(self._first_loss, 1e-9):.3g} x "
                f"that of the first step ({self._first_loss:.2g})"
            )
        if not math.isfinite(norm):
            return None if may_skip else f"the length of the gradient is {norm}"
        if self._seen >= _SEEN and norm > _NORM * max(1.0, self._longest):
            return (
                f"the length of the gradient, {norm:.3g}, is {norm / max(self._longest, 1e-9):.3g} "
                f"x the longest before ({self._longest:.2g})"
            )
        self._longest = max(self._longest, norm)
        self._seen += 1
        return None

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON can hold it."""
        return {"first_loss": self._first_loss, "longest": self._longest, "seen": self._seen}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was asked."""
        self._first_loss = state["first_loss"]
        self._longest, self._seen = state["longest"], state["seen"]


def as_ranges(rows: Iterable[int]) -> str:
    """Write the numbers of rows: `3, 8-12 and 14`; of many pieces the first few."""
    ordered = sorted(set(rows))
    runs = [
        [row for _, row in run]
        for _, run in groupby(enumerate(ordered), lambda numbered: numbered[1] - numbered[0])
    ]
    pieces = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    if len(pieces) > _PIECES:
        left = sum(len(run) for run in runs[_PIECES:])
        return f"{', '.join(pieces[:_PIECES])} and {left} more"
    if not pieces:
        return "none"
    *most, last = pieces
    return f"{', '.join(most)} and {last}" if most else last


def newest_checkpoint(folder: Path) -> str | None:
    """Return the name of the newest checkpoint in `folder`; None if there is none."""
    found = [
        (int(match[1]), each.name)
        for each in folder.glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(each.name))
    ]
    return max(found)[1] if found else None
