"""How far a training had come, as its folder tells when its processes cannot any more."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["after_step", "outlook"]

_CHECKPOINT = re.compile(r"checkpoint-(\d+)(-unevaluated)?")


def after_step(folder: Path) -> str:
    """Return ` after step 41`, the last one that was written down; nothing before the first."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            return f" after step {json.loads(line)['step']}"
        except (ValueError, KeyError):  # cut off by what killed its writer
            continue
    return ""


def outlook(folder: Path) -> str:
    """Return `; the same command goes on from checkpoint-40`, or nothing without a checkpoint."""
    found = [
        (int(match[1]), match[0])
        for each in (folder / "checkpoints").glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(each.name))
    ]
    return f"; the same command goes on from {max(found)[1]}" if found else ""
