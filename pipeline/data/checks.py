"""Look at the rows of a split before anything is made of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

from pipeline.errors import StageError, among
from pipeline.rows import Raw
from pipeline.tasks.text import is_empty

__all__ = ["check_columns", "same_texts", "without_empty"]

log = logging.getLogger(__name__)


def check_columns(raw: Raw, wanted: Mapping[str, str]) -> None:
    """Refuse a split without rows, or without a column; `wanted` has that of each setting.

    Raises:
        StageError: The message lists the columns there are.
    """
    if len(raw) == 0:
        header = " but the names of its columns" if raw.rows.names else ""
        raise StageError(f"{raw.key}: {raw.origin} has no rows{header}")
    for key, column in wanted.items():
        if column not in raw.rows.names:
            # In quotes, for a name may begin with a space.
            exist = [name if name.strip() == name else repr(name) for name in raw.rows.names]
            raise StageError(
                f"data.{key}: no column {column!r} in {raw.origin}{among(column, exist, 'Columns')}"
            )


def without_empty(raw: Raw, columns: Sequence[str]) -> Raw:
    """Leave out rows of which a column is empty, and say how many.

    Raises:
        StageError: None is left.
    """
    kept = [
        row
        for row in range(len(raw))
        if not any(is_empty(raw.column(name)[row]) for name in columns)
    ]
    if not kept:
        raise StageError(
            f"{raw.key}: {raw.origin}: every row is empty; data.drop_empty leaves none"
        )
    if dropped := len(raw) - len(kept):
        log.warning("    %s: %d of %d rows are empty, left out", raw.key, dropped, len(raw))
        return raw.only(kept)
    return raw


def same_texts(found: Mapping[str, Raw], columns: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return each pair of splits that share texts, with the number of rows of the second."""
    texts = {
        split: list(zip(*(map(_key, raw.column(name)) for name in columns), strict=True))
        for split, raw in found.items()
    }
    shared = []
    for split in list(texts)[1:]:
        train = set(texts["train"])
        if count := sum(text in train for text in texts[split]):
            shared.append(("train", split, count))
    return shared


def _key(value: object) -> object:
    """Return what equal values have in common: lists of words cannot be kept in a set.

    Of images, whose bytes are many, that is a digest.
    """
    return value if isinstance(value, str) else hashlib.sha256(repr(value).encode()).digest()
