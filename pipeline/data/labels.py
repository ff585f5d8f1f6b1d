"""Labels are words: the same in every format, numbered in one order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline.errors import StageError, nearest

__all__ = ["as_word", "label_names", "label_numbers"]


def as_word(label: object) -> str:
    """Return a label as CSV would write it, so that formats agree: 1 is `1`, True is `true`."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def label_names(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the distinct labels: by value if all are whole numbers, else by the alphabet.

    Raises:
        StageError: All are the same.
    """
    words = {as_word(label) for label in labels}
    if len(words) < 2:
        raise StageError(
            f"data.label_column: needs at least two different labels, found {len(words)}: "
            f"{', '.join(map(repr, words))} in every row"
        )
    if all(re.fullmatch(r"[+-]?\d+", word) for word in words):
        return tuple(sorted(words, key=lambda word: (int(word), word)))
    return tuple(sorted(words))


def label_numbers(labels: Iterable[object], names: Sequence[str], origin: str) -> list[int]:
    """Return each label as an index into `names`.

    Raises:
        StageError: One is not among them; the message starts with `origin` and has its row.
    """
    number = {name: index for index, name in enumerate(names)}
    found = []
    for row, label in enumerate(labels, start=1):
        word = as_word(label)
        if word not in number:
            raise StageError(
                f"data: {origin} row {row}: label {word!r} is not among the {len(names)} labels "
                f"of the training rows{nearest(word, names)}"
            )
        found.append(number[word])
    return found
