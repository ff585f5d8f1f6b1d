"""From raw rows to `Examples`: check them, tokenise them, write Arrow."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Examples
from pipeline.data.checks import check_columns, same_texts
from pipeline.data.preview import lengths_of, preview_of, save, spread
from pipeline.errors import StageError
from pipeline.rows import Raw
from pipeline.tasks import task_named
from pipeline.tasks.labels import alike
from pipeline.tasks.wanted import Wanted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pipeline.artifacts import BaseModel
    from pipeline.tasks import Task

__all__ = ["SPLITS", "Asked", "Columns"]

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
_PREVIEW = "preview.json"
_MOST_UNKNOWN = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Checked:
    """Rows that can be learned from."""

    found: Mapping[str, Raw]
    names: tuple[str, ...]
    """Of the labels, if there are any."""
    targets: Mapping[str, Sequence[Any]]
    """What is to be learned of each row found."""
    rows: Mapping[str, tuple[str, list[int]]]
    """For each split, where its rows come from and which of those."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked(ABC):
    """What every source of rows has in common; a source adds columns, and where they come from."""

    label_column: str | None
    """What is to be learned: a word or number a row, or what the model's task makes of it. None:
    the inputs themselves, as a language model does."""

    @property
    @abstractmethod
    def inputs(self) -> dict[str, str]:
        """The column of each setting that names an input."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns to read."""
        label = () if self.label_column is None else (self.label_column,)
        return (*self.inputs.values(), *label)

    @property
    def at_most(self) -> int | None:
        """Tokens at which a text is cut, if it was said."""
        return None

    @abstractmethod
    def load(self) -> dict[str, Raw]:
        """Return the splits that the source has; `train` always, all three if none are drawn."""

    def usable(self, raw: Raw) -> Raw:
        """Return the rows of a split that are to be used."""
        return raw

    def rows(
        self, found: Mapping[str, Raw], strata: Sequence[int] | None
    ) -> dict[str, tuple[str, list[int]]]:
        """Return, for each split, where its rows come from and which of those.

        Args:
            found: What `load` returned.
            strata: The group of each training row, of which a drawn split has its share.
        """
        return {split: (split, list(range(len(raw)))) for split, raw in found.items()}

    def run(self, given: BaseModel, folder: Path) -> Examples:
        from datasets import Dataset

        task, wanted = self._ready(given)
        checked = self._checked(task, wanted)
        _warn(checked, tuple(self.inputs.values()), "texts" if task.reads == "text" else "images")
        limit = task.limit(wanted, given)
        lengths: dict[str, list[int]] = {}
        told: dict[str, Any] = {}
        cut: list[bool] = []
        for split in SPLITS:
            columns = _encode(checked, split, task, wanted, given)
            lost = columns.pop("cut", [])
            if split == "train":
                cut = lost
            lengths[split] = list(columns["length"])
            told[split] = _told(
                checked, split, task, wanted, None if limit is None else lengths[split]
            )
            Dataset.from_dict(columns).save_to_disk(str(folder / split))
        of_train = None if limit is None else lengths_of(lengths["train"], cut, limit)
        save(folder / _PREVIEW, told, of_train)
        made = self._made(checked, given.task, folder, lengths)
        labels = f"{len(made.labels)} labels; " if made.labels else ""
        tokens = f"{made.mean_length:.1f} tokens a row, at most {made.longest}"
        log.info(
            "    %s%d rows to train, %d to validate, %d to test%s",
            labels,
            made.train_rows,
            made.validation_rows,
            made.test_rows,
            f"; {tokens}" if task.reads == "text" else "",
        )
        return made

    def look(self, given: BaseModel, folder: Path) -> Examples:
        """Do all that `run` does but the tokens: their lengths are 0, and there is no preview."""
        task, wanted = self._ready(given)
        return self._made(self._checked(task, wanted), given.task, folder, {})

    def _ready(self, given: BaseModel) -> tuple[Task, Wanted]:
        task = task_named(given.task)
        wanted = Wanted(inputs=self.inputs, label=self.label_column, max_length=self.at_most)
        task.check_settings(wanted, given)
        return task, wanted

    def _checked(self, task: Task, wanted: Wanted) -> _Checked:
        """Read all rows and check them.

        Raises:
            StageError: Of the first thing that is wrong; the message has its file and line.
        """
        found = {}
        label = {} if self.label_column is None else {"label_column": self.label_column}
        for split, raw in self.load().items():
            check_columns(raw, {**self.inputs, **label})
            found[split] = self.usable(raw)
            task.check(found[split], wanted)
        names = task.names(found["train"], wanted)
        targets = {split: task.targets(raw, wanted, names) for split, raw in found.items()}
        rows = self.rows(found, task.strata(targets["train"]))
        return _Checked(found=found, names=names, targets=targets, rows=rows)

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
            preview=folder / _PREVIEW if lengths else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns(Asked):
    """Rows of text."""

    text_column: str
    text_pair_column: str | None
    """A second text for tasks on pairs, or None."""
    max_length: int | None
    """Tokens at which a text is cut; None takes the model's own limit."""

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, got {self.max_length}")
        if len(set(self.wanted)) < len(self.wanted):
            raise ValueError(
                "label_column: text_column, text_pair_column and label_column must be different "
                f"columns, got {', '.join(self.wanted)}"
            )

    @property
    def inputs(self) -> dict[str, str]:
        columns = {"text_column": self.text_column, "text_pair_column": self.text_pair_column}
        return {key: column for key, column in columns.items() if column is not None}

    @property
    def at_most(self) -> int | None:
        return self.max_length


def _encode(
    checked: _Checked, split: str, task: Task, wanted: Wanted, base: BaseModel
) -> dict[str, Any]:
    """Return the columns of a split."""
    origin, chosen = checked.rows[split]
    table = task.encode(checked.found[origin], chosen, checked.targets[origin], wanted, base)
    if split == "train" and task.reads == "text":
        tokenizer = base.load_tokenizer()
        _check_known(table["input_ids"], tokenizer, pair=len(wanted.inputs) > 1)
    return table


def _told(
    checked: _Checked, split: str, task: Task, wanted: Wanted, lengths: Sequence[int] | None
) -> dict[str, Any]:
    """Return what the preview tells of a split."""
    origin, chosen = checked.rows[split]
    raw, targets, names = checked.found[origin], checked.targets[origin], checked.names
    some = spread(len(chosen))
    return preview_of(
        len(chosen),
        [task.shown(raw, chosen[at], targets[chosen[at]], wanted, names) for at in some],
        None if lengths is None else [lengths[at] for at in some],
        [label for row in chosen for label in task.labels_in(targets[row], names)],
    )


def _check_known(
    rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, *, pair: bool
) -> None:
    """Refuse texts that the tokenizer has no words for: nothing could be learned from them.

    Raises:
        StageError: Most tokens are unknown; the message has their share.
    """
    unknown = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    if unknown is None or unknown in others:  # GPT-2 reads bytes, and knows them all
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


def _warn(checked: _Checked, columns: Sequence[str], what: str) -> None:
    """Say what is no mistake for certain, but often one; `what` the inputs are."""
    for one, other, count in same_texts(checked.found, columns):
        log.warning(
            "    %d of %d %s of data.%s are in data.%s as well: its metrics will flatter",
            count,
            len(checked.found[other]),
            what,
            other,
            one,
        )
    for names in alike(checked.names):
        log.warning(
            "    the labels %s differ in spaces or capitals alone; they are different labels here",
            ", ".join(map(repr, names)),
        )
