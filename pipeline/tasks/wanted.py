"""Which columns of the rows a task is to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Wanted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the data stage was asked for; a task says what it makes of it."""

    inputs: Mapping[str, str]
    """The column of each setting that names an input: `{"text_column": "text"}`."""
    label: str | None
    """The column with what is to be learned, if it is not in the inputs themselves."""
    max_length: int | None
    """Tokens at which a text is cut; None takes the model's own limit."""
