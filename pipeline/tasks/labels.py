"""Labels are words: the same in every format, numbered in one order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby

from pipeline.errors import StageError, nearest
from pipeline.rows import Raw

__all__ = ["alike", "as_word", "check_labels", "label_names", "label_numbers", "sorted_names"]

_IGNORED = "-100"
_KINDS = {str: "text", bool: "true or false", int: "whole numbers", float: "decimals"}

_LISTS = (
    "; lists are for model.task=multi_label_classification, or token_classification with a label "
    "a word"
)


def as_word(label: object) -> str:
    """Return a label as CSV would write it, so that formats agree: 1 is `1`, True is `true`."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def check_labels(raw: Raw, column: str) -> None:
    """Refuse what cannot be the name of a class.

    Raises:
        StageError: A label is missing, or neither a word nor a whole number, or stands for "no
            label", or they are of several kinds; the message has the place of the first.
    """
    labels = raw.column(column)
    for row, label in enumerate(labels):
        if type(label) not in _KINDS and label is not None:
            raise StageError(
                f"{raw.where(row)}: the label {column!r} is a {type(label).__name__}, not a word "
                f"or a number{_LISTS if isinstance(label, list) else ''}"
            )
        word = as_word(label)
        if word == _IGNORED:
            raise StageError(
                f"{raw.where(row)}: the label {_IGNORED} stands for 'no label', and nothing would "
                f"be learned from it{_all(labels)}; leave out such rows"
            )
        if "\0" in word or not _is_unicode(word):
            raise StageError(f"{raw.where(row)}: the label {word!r} has what is no character")
    _check_one_kind(raw, labels)
    _check_not_decimal(raw, column, labels)


def _all(labels: Sequence[object]) -> str:
    return " (every label is)" if {as_word(label) for label in labels} == {_IGNORED} else ""


def _is_unicode(word: str) -> bool:
    return word.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in word)


def _check_one_kind(raw: Raw, labels: Sequence[object]) -> None:
    kinds = [type(label) for label in labels]
    first = next(iter(kinds))
    for row, kind in enumerate(kinds):
        if kind is not first:
            raise StageError(
                f"{raw.where(row)}: the label {labels[row]!r} is {_KINDS[kind]}, those of earlier "
                f"rows are {_KINDS[first]}; write all of them the same way"
            )


def _check_not_decimal(raw: Raw, column: str, labels: Sequence[object]) -> None:
    """Refuse numbers between the whole ones: they are measured, and name no class."""
    between = None
    for row, label in enumerate(labels):
        try:
            number = float(as_word(label))
        except ValueError:
            return  # a word, and so names
        if between is None and not number.is_integer():
            between = row
    if between is not None:
        raise StageError(
            f"{raw.where(between)}: the label {as_word(labels[between])} is a decimal; "
            f"data.label_column={column!r} must name classes, not measurements, which are for "
            "model.task=regression"
        )


def label_names(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the distinct labels, as `sorted_names` orders them.

    Raises:
        StageError: All are the same.
    """
    words = sorted_names(labels)
    if len(words) < 2:
        raise StageError(
            f"data.label_column: needs at least two different labels, found {len(words)}: "
            f"{', '.join(map(repr, words))} in every row"
        )
    return words


def sorted_names(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the distinct labels: by value if all are whole numbers, else by the alphabet."""
    words = {as_word(label) for label in labels}
    if all(re.fullmatch(r"[+-]?\d+", word) for word in words):
        return tuple(sorted(words, key=lambda word: (int(word), word)))
    return tuple(sorted(words))


def alike(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the labels that differ in spaces and capitals alone, as mistakes in typing do."""

    def bare(name: str) -> str:
        return " ".join(name.split()).casefold()

    groups = (tuple(same) for _, same in groupby(sorted(names, key=bare), key=bare))
    return [same for same in groups if len(same) > 1]


def label_numbers(raw: Raw, column: str, names: Sequence[str]) -> list[int]:
    """Return each label as an index into `names`.

    Raises:
        StageError: One is not among them; the message has its place.
    """
    number = {name: index for index, name in enumerate(names)}
    found = []
    for row, label in enumerate(raw.column(column)):
        word = as_word(label)
        if word not in number:
            raise StageError(
                f"{raw.where(row)}: label {word!r} is not among the {len(names)} labels of the "
                f"training rows{nearest(word, names)}"
            )
        found.append(number[word])
    return found
