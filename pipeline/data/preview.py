"""What the rows look like: some of each split, their lengths, and how often each label is there."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.scrub import find_secret, scrub
from pipeline.tasks.shown import Part, Shown

__all__ = ["lengths_of", "preview_of", "save", "spread"]

_ROWS = 5
_LETTERS = 300
_WORDS = 40
_TURNS = 6
_BINS = 12
_NAME_LETTERS = 60
_LABELS = 200
_UNLIMITED = 10**9
_MORE = "\u2026"
_HIDDEN = "***"


def spread(rows: int) -> list[int]:
    """Return the places of those to show: the first, the last, and some evenly between."""
    if rows <= _ROWS:
        return list(range(rows))
    return [at * (rows - 1) // (_ROWS - 1) for at in range(_ROWS)]


def preview_of(
    rows: int, shown: Sequence[Shown], tokens: Sequence[int] | None, labels: Sequence[str]
) -> dict[str, Any]:
    """Return what is told of a split, without anything that looks like a secret.

    Args:
        rows: How many there are.
        shown: Some of them.
        tokens: Of each of those; None if they are not made of tokens.
        labels: Those of all rows, each as often as it is there.
    """
    counts = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    return {
        "rows": rows,
        "labels": [[_text(name, _NAME_LETTERS), count] for name, count in counts[:_LABELS]],
        "more_labels": max(len(counts) - _LABELS, 0),
        "shown": [
            {
                "parts": [_part(part) for part in row.parts],
                "label": None if row.label is None else _text(row.label, _LETTERS),
                "tokens": None if tokens is None else tokens[at],
            }
            for at, row in enumerate(shown)
        ],
    }


def lengths_of(lengths: Sequence[int], cut: Sequence[bool], limit: int) -> dict[str, Any]:
    """Return how long the training rows are: at most 12 bins of one width, both ends included.

    Args:
        lengths: Tokens of each row, as it is learned; at least one row.
        cut: Of each whether it was longer.
        limit: Tokens at which it was cut.
    """
    least = min(lengths)
    width = -(-(max(lengths) - least + 1) // _BINS)
    counts = Counter((length - least) // width for length in lengths)
    return {
        "limit": limit if limit < _UNLIMITED else None,
        "cut": sum(cut),
        "rows": len(lengths),
        "bins": [
            [least + at * width, least + (at + 1) * width - 1, counts[at]]
            for at in range(max(counts) + 1)
        ],
    }


def save(file: Path, splits: Mapping[str, Any], lengths: Mapping[str, Any] | None) -> None:
    """Write the preview: the same for the same rows."""
    told = {"splits": splits, "lengths": lengths}
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _part(part: Part) -> dict[str, Any]:
    told: dict[str, Any] = {"name": _text(part.name, _NAME_LETTERS)}
    if part.image is not None:
        return {**told, "image": base64.b64encode(part.image).decode("ascii")}
    if part.turns:
        turns = [[_text(role, 30), _text(said, _LETTERS)] for role, said in part.turns[:_TURNS]]
        return {**told, "turns": turns, "more": max(len(part.turns) - _TURNS, 0)}
    if part.words:
        words = [[_text(word, 50), _text(tag, 30)] for word, tag in part.words[:_WORDS]]
        # What is cut into words may be a secret only as a whole.
        if find_secret(" ".join(word for word, _ in words)) is not None:
            words = [[_HIDDEN, tag] for _, tag in words]
        return {**told, "words": words, "more": max(len(part.words) - _WORDS, 0)}
    return {**told, "text": _text(part.text or "", _LETTERS)}


def _text(text: str, letters: int) -> str:
    """Return the beginning of a text; what is hidden is looked for in all of it."""
    clean = scrub(text)
    return clean if len(clean) <= letters else f"{clean[:letters].rstrip()}{_MORE}"
