"""From raw tables to `Examples`: check the rows, tokenise them, write Arrow."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Examples
from pipeline.data.labels import label_names, label_numbers
from pipeline.errors import StageError, among
from pipeline.tasks import trainable_task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pipeline.artifacts import BaseModel, HashedFile
    from pipeline.tasks import TrainableTask

__all__ = ["Columns", "Raw"]

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
_UNLIMITED = 10**9


@dataclass(frozen=True, slots=True)
class Raw:
    """The rows of one split as they were found, and where: for messages that name a row."""

    table: Dataset
    origin: str
    file: HashedFile | None = None
    """None: not from one file of this machine."""
    revision: str | None = None
    """The hub's name of the version, if the rows come from there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns(ABC):
    """What every source of rows has in common; a source adds where they come from."""

    text_column: str
    text_pair_column: str | None
    """A second text for tasks on pairs, or None."""
    label_column: str
    max_length: int | None
    """Tokens at which a text is cut; None takes the model's own limit."""

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, got {self.max_length}")

    @abstractmethod
    def load(self) -> dict[str, Raw]:
        """Return the splits that the source has; `train` always, all three if none are drawn."""

    def run(self, given: BaseModel, folder: Path) -> Examples:
        task = trainable_task(given.task)
        tokenizer = given.load_tokenizer()
        limit = self._limit(tokenizer, given.folder)
        found = self.load()
        for raw in found.values():
            self._check_rows(raw)
        names = label_names(found["train"].table[self.label_column])
        numbers = {
            split: label_numbers(raw.table[self.label_column], names, raw.origin)
            for split, raw in found.items()
        }
        rows = self.rows(found, numbers)
        lengths = {}
        for split in SPLITS:
            origin, chosen = rows[split]
            labels = [numbers[origin][index] for index in chosen]
            texts = found[origin].table.select(chosen)
            table = self._encode(texts, labels, task, tokenizer, limit)
            table.save_to_disk(str(folder / split))
            lengths[split] = table["length"]
        every = [length for split in SPLITS for length in lengths[split]]
        made = Examples(
            folder=folder,
            task=given.task,
            sources=tuple(raw.file for raw in found.values() if raw.file is not None),
            revision=found["train"].revision,
            labels=names,
            train_rows=len(lengths["train"]),
            validation_rows=len(lengths["validation"]),
            test_rows=len(lengths["test"]),
            longest=max(every),
            mean_length=round(sum(lengths["train"]) / len(lengths["train"]), 2),
        )
        log.info(
            "    %d labels; %d rows to train, %d to validate, %d to test; %.1f tokens a row, at "
            "most %d",
            len(names),
            made.train_rows,
            made.validation_rows,
            made.test_rows,
            made.mean_length,
            made.longest,
        )
        return made

    def _limit(self, tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
        """Return the tokens at which texts are cut.

        Raises:
            StageError: `max_length` is above what the model can read; the message has the limit.
        """
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder)
        limit = int(tokenizer.model_max_length)
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None:
            limit = min(limit, int(positions))
        if self.max_length is None:
            return min(limit, _UNLIMITED)
        if self.max_length > limit:
            raise StageError(
                f"data.max_length: {self.max_length} is above the model's limit of {limit} tokens"
            )
        return self.max_length

    def _check_rows(self, raw: Raw) -> None:
        if len(raw.table) == 0:
            raise StageError(f"data: {raw.origin} has no rows")
        exist = raw.table.column_names
        wanted = {
            "text_column": self.text_column,
            "text_pair_column": self.text_pair_column,
            "label_column": self.label_column,
        }
        for key, column in wanted.items():
            if column is not None and column not in exist:
                raise StageError(
                    f"data.{key}: no column {column!r} in {raw.origin}"
                    f"{among(column, exist, 'Columns')}"
                )
        for key in ("text_column", "text_pair_column"):
            if (column := wanted[key]) is not None:
                self._check_texts(raw, key, column)
        for row, label in enumerate(raw.table[self.label_column], start=1):
            if label is None or not str(label).strip():
                raise StageError(f"data: {raw.origin} row {row}: {self.label_column!r} is empty")

    def _check_texts(self, raw: Raw, key: str, column: str) -> None:
        texts = raw.table[column]
        for row, text in enumerate(texts, start=1):
            if text is None or (isinstance(text, str) and not text.strip()):
                raise StageError(f"data: {raw.origin} row {row}: {column!r} is empty")
            if not isinstance(text, str):
                held = "numbers" if type(text) in (int, float) else f"{type(text).__name__} values"
                raise StageError(
                    f"data.{key}: {column!r} of {raw.origin} holds {held}, not text; row {row} "
                    f"is {text!r}"
                )
        if all(_is_number(text) for text in texts):
            raise StageError(
                f"data.{key}: {column!r} of {raw.origin} holds numbers, not text; row 1 is "
                f"{texts[0]!r}"
            )

    def rows(
        self, found: Mapping[str, Raw], numbers: Mapping[str, Sequence[int]]
    ) -> dict[str, tuple[str, list[int]]]:
        """Return, for each split, the table its rows come from and which rows of it.

        Args:
            found: What `load` returned.
            numbers: The label of each row, as an index into the label names.
        """
        return {split: (split, list(range(len(raw.table)))) for split, raw in found.items()}

    def _encode(
        self,
        table: Dataset,
        labels: list[int],
        task: TrainableTask,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
    ) -> Dataset:
        from datasets import Dataset

        columns = [c for c in (self.text_column, self.text_pair_column) if c is not None]
        texts = list(zip(*(table[column] for column in columns), strict=True))
        encoded = task.tokenize(texts, tokenizer, limit)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        return Dataset.from_dict({**encoded, "labels": labels, "length": lengths})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
