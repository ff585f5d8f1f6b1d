"""Look at the rows of a split before anything is made of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

from pipeline.data.labels import check_labels
from pipeline.data.rows import Raw
from pipeline.errors import StageError, among

__all__ = ["check_columns", "check_rows", "same_texts", "without_empty"]

log = logging.getLogger(__name__)

_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")
_HELD = {bool: "true and false", int: "numbers", float: "numbers", list: "lists", dict: "objects",
         bytes: "bytes"}  # fmt: skip


def check_rows(raw: Raw, texts: Mapping[str, str], label: str) -> None:
    """Refuse rows without a text or a label.

    Args:
        raw: The rows.
        texts: The column of each setting that names one of texts.
        label: The column of labels.

    Raises:
        StageError: The message has the line, or the row where a format has no lines.
    """
    for key, column in texts.items():
        _check_texts(raw, key, column)
    _refuse_empty(raw, label)
    check_labels(raw, label)


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
        row for row in range(len(raw)) if not any(_empty(raw.column(name)[row]) for name in columns)
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
        split: list(zip(*(raw.column(name) for name in columns), strict=True))
        for split, raw in found.items()
    }
    shared = []
    for split in list(texts)[1:]:
        train = set(texts["train"])
        if count := sum(text in train for text in texts[split]):
            shared.append(("train", split, count))
    return shared


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _refuse_empty(raw: Raw, column: str) -> None:
    values = raw.column(column)
    empty = [row for row, value in enumerate(values) if _empty(value)]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise StageError(
            f"{raw.where(empty[0])}: {column!r} is empty{more}; fix it, or leave out such rows "
            "with data.drop_empty=true"
        )


def _check_texts(raw: Raw, key: str, column: str) -> None:
    _refuse_empty(raw, column)
    texts = raw.column(column)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            held = _HELD.get(type(text), f"values of type {type(text).__name__}")
            raise StageError(
                f"{raw.where(row)}: {column!r} holds {held}, not text ({_shortened(text)}); "
                f"set data.{key}"
            )
        if wrong := _NO_CHARACTER.search(text):  # JSON can write what no encoding can
            raise StageError(
                f"{raw.where(row)}: {column!r} has {wrong.group()!r}, which is no character"
            )
    if all(_is_number(str(text)) for text in texts):
        raise StageError(
            f"{raw.where(0)}: {column!r} holds numbers, not text ({_shortened(texts[0])}); "
            f"set data.{key}"
        )


def _shortened(value: object) -> str:
    said = repr(value)
    return said if len(said) <= 40 else f"{said[:40]}..."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
