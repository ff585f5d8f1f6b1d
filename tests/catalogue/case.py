"""One bad input, and the answer it must get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Case", "Proved"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is typed, and what must be said; run by `tests/test_bad_inputs.py`."""

    number: int
    """Of the catalogue; variants of one entry share it."""
    given: str
    """The input in words."""
    arguments: tuple[str, ...]
    """What follows `python -m pipeline`; `{here}` stands for the folder of this case."""
    says: str
    """A regular expression that some line on stderr matches."""
    code: int = 2
    prepare: Callable[[Path], None] | None = None
    """Makes the files that the input needs, in the folder of this case."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    early: bool = False
    """Whether nothing at all may be written, not even the folder of the run."""
    lines: int = 1
    """Lines that begin with `error:`; 0 for an input that is accepted."""
    inside: Callable[[Path], None] | None = None
    """Called with the folder of this case in the process itself, before the command line."""
    then: Callable[[Path], None] | None = None
    """Asserts more about what lies in the folder of this case at the end."""
    fresh: bool = False
    """Whether to start a new Python, which takes seconds, instead of a fork."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proved:
    """An entry of the catalogue that another test proves: it is no matter of one command."""

    number: int
    by: str
    """The test: `tests/test_launch.py::test_name`, without parameters."""
