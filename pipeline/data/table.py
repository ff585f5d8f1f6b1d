"""From raw rows to `Examples`: check them, tokenise them, write Arrow."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Examples
from pipeline.data.checks import check_columns, check_rows, same_texts
from pipeline.data.labels import alike, label_names, label_numbers
from pipeline.data.limit import most_tokens
from pipeline.data.rows import Raw
from pipeline.errors import StageError
from pipeline.tasks import trainable_task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from pipeline.artifacts import BaseModel
    from pipeline.tasks import TrainableTask

__all__ = ["SPLITS", "Columns"]

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
_MOST_UNKNOWN = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """Rows that can be tokenised."""

    found: Mapping[str, Raw]
    names: tuple[str, ...]
    """Of the labels."""
    numbers: Mapping[str, Sequence[int]]
    """The label of each row found, as an index into the names."""
    rows: Mapping[str, tuple[str, list[int]]]
    """For each split, where its rows come from and which of those."""


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
        columns = [*self.texts.values(), self.label_column]
        if len(set(columns)) < len(columns):
            raise ValueError(
                "label_column: text_column, text_pair_column and label_column must be different "
                f"columns, got {', '.join(columns)}"
            )

    @property
    def texts(self) -> dict[str, str]:
        """The column of each setting that names one of texts."""
        columns = {"text_column": self.text_column, "text_pair_column": self.text_pair_column}
        return {key: column for key, column in columns.items() if column is not None}

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns to read."""
        return (*self.texts.values(), self.label_column)

    @abstractmethod
    def load(self) -> dict[str, Raw]:
        """Return the splits that the source has; `train` always, all three if none are drawn."""

    def usable(self, raw: Raw) -> Raw:
        """Return the rows of a split that are to be used."""
        return raw

    def rows(
        self, found: Mapping[str, Raw], numbers: Mapping[str, Sequence[int]]
    ) -> dict[str, tuple[str, list[int]]]:
        """Return, for each split, where its rows come from and which of those.

        Args:
            found: What `load` returned.
            numbers: The label of each row, as an index into the label names.
        """
        return {split: (split, list(range(len(raw)))) for split, raw in found.items()}

    def run(self, given: BaseModel, folder: Path) -> Examples:
        task = trainable_task(given.task)
        tokenizer = given.load_tokenizer()
        limit = most_tokens(self.max_length, tokenizer, given.folder)
        checked = self._checked()
        _warn(checked, tuple(self.texts.values()))
        lengths: dict[str, list[int]] = {}
        for split in SPLITS:
            table = self._encode(checked, split, task, tokenizer, limit)
            table.save_to_disk(str(folder / split))
            lengths[split] = list(table["length"])
        made = self._made(checked, given.task, folder, lengths)
        log.info(
            "    %d labels; %d rows to train, %d to validate, %d to test; %.1f tokens a row, at "
            "most %d",
            len(made.labels),
            made.train_rows,
            made.validation_rows,
            made.test_rows,
            made.mean_length,
            made.longest,
        )
        return made

    def look(self, given: BaseModel, folder: Path) -> Examples:
        """Do all that `run` does but the tokens: their lengths are 0 in what is returned."""
        trainable_task(given.task)
        most_tokens(self.max_length, given.load_tokenizer(), given.folder)
        return self._made(self._checked(), given.task, folder, {})

    def _checked(self) -> _Checked:
        """Read all rows and check them.

        Raises:
            StageError: Of the first thing that is wrong; the message has its file and line.
        """
        found = {}
        for split, raw in self.load().items():
            check_columns(raw, {**self.texts, "label_column": self.label_column})
            found[split] = self.usable(raw)
            check_rows(found[split], self.texts, self.label_column)
        names = label_names(found["train"].column(self.label_column))
        numbers = {
            split: label_numbers(raw, self.label_column, names) for split, raw in found.items()
        }
        return _Checked(found=found, names=names, numbers=numbers, rows=self.rows(found, numbers))

    def _made(
        self, checked: _Checked, task: str, folder: Path, lengths: Mapping[str, Sequence[int]]
    ) -> Examples:
        found = checked.found
        train = lengths.get("train", ())
        return Examples(
            folder=folder,
            task=task,
            sources=tuple(raw.file for raw in found.values() if raw.file is not None),
            revision=found["train"].revision,
            labels=checked.names,
            train_rows=len(checked.rows["train"][1]),
            validation_rows=len(checked.rows["validation"][1]),
            test_rows=len(checked.rows["test"][1]),
            longest=max((length for each in lengths.values() for length in each), default=0),
            mean_length=round(sum(train) / len(train), 2) if train else 0.0,
        )

    def _encode(
        self,
        checked: _Checked,
        split: str,
        task: TrainableTask,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
    ) -> Dataset:
        from datasets import Dataset

        origin, chosen = checked.rows[split]
        columns = [checked.found[origin].column(column) for column in self.texts.values()]
        # They were found to be texts.
        texts = [[str(column[row]) for column in columns] for row in chosen]
        encoded = task.tokenize(texts, tokenizer, limit)
        if split == "train":
            _check_known(encoded["input_ids"], tokenizer, pair=len(columns) > 1)
        labels = [checked.numbers[origin][row] for row in chosen]
        lengths = [len(ids) for ids in encoded["input_ids"]]
        return Dataset.from_dict({**encoded, "labels": labels, "length": lengths})


def _check_known(
    rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, *, pair: bool
) -> None:
    """Refuse texts that the tokenizer has no words for: nothing could be learned from them.

    Raises:
        StageError: Most tokens are unknown; the message has their share.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return
    frame = tokenizer.num_special_tokens_to_add(pair=pair)
    words = sum(max(len(row) - frame, 0) for row in rows)
    share = sum(list(row).count(unknown) for row in rows) / max(words, 1)
    said = f"{share:.0%} of the tokens of the training texts are unknown to the model's tokenizer"
    if share > _MOST_UNKNOWN:
        raise StageError(
            f"data.text_column: {said} ({tokenizer.unk_token}); choose a model that was pretrained "
            "on this language, or the column with the texts"
        )
    if share > 0.1 * _MOST_UNKNOWN:
        log.warning("    %s", said)


def _warn(checked: _Checked, columns: Sequence[str]) -> None:
    """Say what is no mistake for certain, but often one."""
    for one, other, count in same_texts(checked.found, columns):
        log.warning(
            "    %d of %d texts of data.%s are in data.%s as well: its metrics will flatter",
            count,
            len(checked.found[other]),
            other,
            one,
        )
    for names in alike(checked.names):
        log.warning(
            "    the labels %s differ in spaces or capitals alone; they are different labels here",
            ", ".join(map(repr, names)),
        )
