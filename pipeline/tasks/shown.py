"""A row as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Part", "Shown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one column has of a row, in one of four ways."""

    name: str
    """Of the column."""
    text: str | None = None
    """As it was given, however long."""
    words: Sequence[tuple[str, str]] = ()
    """Each with its tag."""
    turns: Sequence[tuple[str, str]] = ()
    """Of a conversation: who speaks, and what is said."""
    image: bytes | None = None
    """A small PNG."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One row."""

    parts: tuple[Part, ...]
    label: str | None
    """Its name or number; None where the parts have all there is to learn."""
