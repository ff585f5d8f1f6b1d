"""From raw tables to `Examples`: check, split, number the labels, tokenise, write Arrow."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Examples
from pipeline.errors import StageError, among, nearest
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pipeline.artifacts import BaseModel
    from pipeline.tasks import Task

__all__ = ["Columns", "Raw"]

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
_UNLIMITED = 10**9


@dataclass(frozen=True, slots=True)
class Raw:
    """The rows of one split as they were found, and where: for messages that name a row."""

    table: Dataset
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns(ABC):
    """What every source of rows has in common; a source adds where they come from."""

    text_column: str
    text_pair_column: str | None
    """A second text for tasks on pairs, or None."""
    label_column: str
    max_length: int | None
    """Tokens at which a text is cut; None takes the model's own limit."""
    validation_size: float
    """Share of the training rows set aside when there is no validation split, 0 to 1."""
    test_size: float
    """The same for the test split."""
    seed: int

    def __post_init__(self) -> None:
        for name in ("validation_size", "test_size"):
            if not 0 < (size := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {size}")
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, got {self.max_length}")

    @abstractmethod
    def load(self) -> dict[str, Raw]:
        """Return the splits that the source has; `train` always."""

    def run(self, given: BaseModel, folder: Path) -> Examples:
        task = task_named(given.task)
        tokenizer = given.load_tokenizer()
        limit = self._limit(tokenizer, given.folder)
        found = self.load()
        for raw in found.values():
            self._check_rows(raw)
        names = label_names(found["train"].table[self.label_column])
        numbers = {split: self._numbers(raw, names) for split, raw in found.items()}
        rows = self._with_all_splits(found, numbers)
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
            sources=(),
            revision=None,
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
        for column in filter(None, (self.text_column, self.text_pair_column)):
            for index, text in enumerate(raw.table[column]):
                if text is None or (isinstance(text, str) and not text.strip()):
                    raise StageError(f"data: {raw.origin} row {index + 1}: {column!r} is empty")
                if not isinstance(text, str):
                    raise StageError(
                        f"data.text_column: {column!r} of {raw.origin} holds "
                        f"{type(text).__name__} values, not text; row {index + 1} is {text!r}"
                    )

        for index, label in enumerate(raw.table[self.label_column]):
            if label is None or label == "":
                raise StageError(
                    f"data: {raw.origin} row {index + 1}: {self.label_column!r} is empty"
                )

    def _numbers(self, raw: Raw, names: tuple[str, ...]) -> list[int]:
        """Return the label of each row as an index into `names`."""
        number = {name: index for index, name in enumerate(names)}
        found = []
        for index, label in enumerate(raw.table[self.label_column]):
            if str(label) not in number:
                raise StageError(
                    f"data: {raw.origin} row {index + 1}: label {label!r} is not among the "
                    f"{len(names)} labels of the training rows{nearest(str(label), names)}"
                )
            found.append(number[str(label)])
        return found

    def _with_all_splits(
        self, found: Mapping[str, Raw], numbers: Mapping[str, Sequence[int]]
    ) -> dict[str, tuple[str, list[int]]]:
        """Return, for each split, the table its rows come from and which rows of it.

        Splits the source lacks are drawn from the training rows, each label in proportion.
        """
        rows = {split: (split, list(range(len(raw.table)))) for split, raw in found.items()}
        for split, size in (("test", self.test_size), ("validation", self.validation_size)):
            if split in rows:
                continue
            kept, taken = _stratified(rows["train"][1], numbers["train"], size, split, self.seed)
            rows["train"], rows[split] = ("train", kept), ("train", taken)
        return rows

    def _encode(
        self,
        table: Dataset,
        labels: list[int],
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
    ) -> Dataset:
        from datasets import Dataset

        columns = [c for c in (self.text_column, self.text_pair_column) if c is not None]
        texts = list(zip(*(table[column] for column in columns), strict=True))
        encoded = task.tokenize(texts, tokenizer, limit)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        return Dataset.from_dict({**encoded, "labels": labels, "length": lengths})


def label_names(values: Sequence[object]) -> tuple[str, ...]:
    """Return the distinct labels as text: numbers in their order, words in the alphabet's."""
    distinct = set(values)
    if len(distinct) < 2:
        raise StageError(
            f"data.label_column: needs at least two different labels, found {len(distinct)}"
        )
    if all(isinstance(value, int) for value in distinct):
        return tuple(str(value) for value in sorted(distinct, key=lambda v: int(str(v))))
    return tuple(sorted(str(value) for value in distinct))


def _stratified(
    rows: list[int], labels: Sequence[int], size: float, split: str, seed: int
) -> tuple[list[int], list[int]]:
    from sklearn.model_selection import train_test_split

    try:
        kept, taken = train_test_split(
            rows, test_size=size, random_state=seed, stratify=[labels[row] for row in rows]
        )
    except ValueError as error:
        raise StageError(
            f"data.{split}: cannot set aside {size:.0%} of {len(rows)} rows with every label in "
            f"proportion ({error}); give more rows or a file for this split"
        ) from error
    return sorted(kept), sorted(taken)
