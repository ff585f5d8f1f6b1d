"""Words that were told apart before a tokenizer saw them, and the pieces that it makes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Pieces", "pieces_of"]

_TEXT = ("one", "two", "three")
_SPACES = ("\u0120", "\u2581")
"""A space, as byte-level tokenizers write it, and as SentencePiece does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """Rows of words as a tokenizer cuts them."""

    inputs: dict[str, list[Any]]
    """What the model reads."""
    first: list[list[tuple[int, int]]]
    """For each row the place of each word's first piece, and the number of the word.

    A space that is a piece of its own is passed over, for it tells nothing of the word. A word that
    is cut to nothing, or lies beyond the longest text, has no place.
    """
    cut: list[bool]
    """Whether a row lost its end."""


def pieces_of(
    rows: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, longest: int
) -> Pieces:
    """Cut words into pieces, the same that they are cut into in a running text.

    Args:
        rows: Of words.
        tokenizer: A fast one: the others do not tell which word a piece is of.
        longest: Pieces at which a row is cut, those of its frame included.
    """
    space = _before_a_word(tokenizer)
    spaced = [[space + word for word in row] for row in rows]
    encoded = tokenizer(spaced, is_split_into_words=True, truncation=True, max_length=longest)
    first, cut = [], [False] * len(rows)
    long = [row for row, ids in enumerate(encoded["input_ids"]) if len(ids) >= longest]
    if long:
        whole = tokenizer([spaced[row] for row in long], is_split_into_words=True, verbose=False)
        for row, ids in zip(long, whole["input_ids"], strict=True):
            cut[row] = len(ids) > longest
    for row in range(len(rows)):
        seen: dict[int, int] = {}
        tokens = encoded.tokens(row)
        for place, word in enumerate(encoded.word_ids(row)):
            if word is not None and tokens[place] not in _SPACES:
                seen.setdefault(word, place)
        first.append([(place, word) for word, place in seen.items()])
    return Pieces(inputs=dict(encoded), first=first, cut=cut)


def _before_a_word(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what a word must begin with to be cut as in a running text: nothing or a space.

    Byte-level tokenizers, such as those of GPT-2 and RoBERTa, keep the space before a word in its
    first piece, and know most words only with it. It is what `add_prefix_space` is for, in
    whatever way a tokenizer was made.
    """

    def ids(text: object, *, split: bool) -> list[int]:
        encoded = tokenizer(text, is_split_into_words=split, add_special_tokens=False)
        return list(encoded["input_ids"])

    whole = ids(" ".join(("so", *_TEXT)), split=False)
    for space in ("", " "):
        cut = ids([space + word for word in _TEXT], split=True)
        if cut and whole[-len(cut) :] == cut:
            return space
    return ""
