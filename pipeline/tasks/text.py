"""What all tasks on text share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["example", "token_axes"]

_TEXTS = (
    "Look at a model before it is trained: where are its adapters, and what do they cost?",
    "Two lengths.",
)
_LONGEST = 23
"""Tokens: enough to trace with, and a number that is no width of a layer."""


def example(tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Return the tokenizer's own batch of two sentences, one padded to the length of the other.

    int64, (2, at least 8), on the CPU.
    """
    encoded = tokenizer(
        list(_TEXTS), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt"
    )
    return dict(encoded)


def token_axes(inputs: Sequence[str]) -> dict[str, dict[int, str]]:
    """Return the names of the free axes of inputs that have a number a token."""
    return {name: {0: "batch", 1: "tokens"} for name in inputs}
