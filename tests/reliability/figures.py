"""What a measurement of reliability found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Figure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """How often something was tried, and how often it went wrong."""

    test: str
    """Such as `T1 stage kills`."""
    tried: int
    what: str
    """What was tried, in the plural: `SIGKILLs in the middle of a stage`."""
    bad: int
    """How many of them broke the promise; 0 is the aim."""
    promise: str
    """What must hold, such as `every published folder is whole`."""
    seconds: float
    notes: tuple[str, ...] = ()
    """What else was counted; of each failure, enough to repeat it."""
