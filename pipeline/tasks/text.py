"""What all tasks on text share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import StageError
from pipeline.tasks.limit import most_tokens
from pipeline.tasks.shown import Part, Shown

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks import Collate
    from pipeline.tasks.wanted import Wanted

__all__ = [
    "TextTask",
    "check_texts",
    "is_empty",
    "needed_label",
    "refuse_empty",
    "shortened",
    "texts_of",
]

_TEXTS = (
    "Look at a model before it is trained: where are its adapters, and what do they cost?",
    "Two lengths.",
)
_LONGEST = 23
"""Tokens: enough to trace with, and a number that is no width of a layer."""
_BESIDE = ("length", "items")
"""Columns of a table that are not for the model."""
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")
_HELD = {bool: "true and false", int: "numbers", float: "numbers", list: "lists", dict: "objects",
         bytes: "bytes"}  # fmt: skip


class TextTask:
    """A task whose inputs are made by a tokenizer, a number a token."""

    reads: Literal["text", "images"] = "text"
    problem_type: str | None = None

    def save_processor(self, base: BaseModel, folder: Path) -> None:
        base.load_tokenizer().save_pretrained(folder)

    def example(self, base: BaseModel) -> dict[str, Tensor]:
        """Return the tokenizer's own batch of two sentences, one padded to the other's length."""
        encoded = base.load_tokenizer()(
            list(_TEXTS), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
        )
        return dict(encoded)

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        return {name: {0: "batch", 1: "tokens"} for name in inputs}

    def check_settings(self, wanted: Wanted, base: BaseModel) -> None:
        """Refuse texts longer than the model can read."""
        self.limit(wanted, base)

    def limit(self, wanted: Wanted, base: BaseModel) -> int:
        """Return the tokens at which texts are cut."""
        return most_tokens(wanted.max_length, base.load_tokenizer(), base.folder)

    def labels_in(self, target: Any, names: Sequence[str]) -> Sequence[str]:
        """Return nothing: not every task has labels."""
        return ()

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        """Return the texts, and the names of the labels."""
        parts = [
            Part(name=column, text=str(raw.column(column)[row]))
            for column in wanted.inputs.values()
        ]
        return Shown(parts=tuple(parts), label=", ".join(self.labels_in(target, names)) or None)

    def resized(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch without the last position."""
        return {name: value[:, :-1].contiguous() for name, value in batch.items()}

    def collate(self, base: BaseModel) -> Collate:
        """Pad with the tokenizer's own padding; labels are one number a row."""
        from transformers import DataCollatorWithPadding

        together = DataCollatorWithPadding(base.load_tokenizer())

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            return dict(together([inputs_of(row) for row in examples]))

        return collate


def inputs_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that a batch is made of."""
    return {name: value for name, value in row.items() if name not in _BESIDE}


def needed_label(wanted: Wanted, task: str) -> str:
    """Return the column of labels.

    Raises:
        StageError: There is none.
    """
    if wanted.label is None:
        raise StageError(f"data.label_column: {task} needs one; name the column with the labels")
    return wanted.label


def texts_of(raw: Raw, rows: Sequence[int], wanted: Wanted) -> list[list[str]]:
    """Return for each input the texts of some rows; they were checked."""
    columns = [raw.column(column) for column in wanted.inputs.values()]
    return [[str(column[row]) for row in rows] for column in columns]


def is_empty(value: object) -> bool:
    """Whether there is nothing in a field."""
    return value is None or (
        isinstance(value, str | list) and not (value.strip() if isinstance(value, str) else value)
    )


def refuse_empty(raw: Raw, column: str) -> None:
    """Refuse rows without a value in a column.

    Raises:
        StageError: Has the place of the first, and how many there are.
    """
    empty = [row for row, value in enumerate(raw.column(column)) if is_empty(value)]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise StageError(
            f"{raw.where(empty[0])}: {column!r} is empty{more}; fix it, or leave out such rows "
            "with data.drop_empty=true"
        )


def check_texts(raw: Raw, key: str, column: str) -> None:
    """Refuse what is no text; `key` is the setting that names the column.

    Raises:
        StageError: Has the place of the first that is none.
    """
    refuse_empty(raw, column)
    texts = raw.column(column)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            held = _HELD.get(type(text), f"values of type {type(text).__name__}")
            raise StageError(
                f"{raw.where(row)}: {column!r} holds {held}, not text ({shortened(text)}); "
                f"set data.{key}"
            )
        check_characters(raw, row, column, text)
    if all(_is_number(str(text)) for text in texts):
        raise StageError(
            f"{raw.where(0)}: {column!r} holds numbers, not text ({shortened(texts[0])}); "
            f"set data.{key}"
        )


def check_characters(raw: Raw, row: int, column: str, text: str) -> None:
    """Refuse a text with what is no character: JSON can write what no encoding can.

    Raises:
        StageError: Has its place.
    """
    if wrong := _NO_CHARACTER.search(text):
        raise StageError(
            f"{raw.where(row)}: {column!r} has {wrong.group()!r}, which is no character"
        )


def shortened(value: object) -> str:
    """Return a value as Python writes it, of long ones the beginning."""
    said = repr(value)
    return said if len(said) <= 40 else f"{said[:40]}..."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
