"""Text files, line by line: what cannot be text is said with its line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from encodings.aliases import aliases
from pathlib import Path

from pipeline.errors import nearest

__all__ = ["LONGEST", "Lines", "check_encoding"]

LONGEST = 10_000_000
"""Characters of a line or a field: no example is longer, a file that is no text may be."""

_BOM = "\ufeff"
_ESCAPED = re.compile("[\udc80-\udcff]")


def check_encoding(name: str) -> None:
    """Refuse what is no encoding of text, such as `utf8x` or `zip`.

    Raises:
        ValueError: The message has the nearest name.
    """
    try:
        "a".encode(name)
    except (LookupError, ValueError) as error:
        known = (each.replace("_", "-") for each in {*aliases, *aliases.values()})
        raise ValueError(
            f"encoding: {name!r} is no encoding of text{nearest(name, sorted(known))}"
        ) from error


class Lines:
    r"""The lines of a file, which end in \n, \r\n or \r.

    Raises, while it is read:
        ValueError: A line is too long, or has what is no character; the message starts with it.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        """Take a file; nothing is opened before the first line is asked for."""
        self._path = path
        self._encoding = encoding
        self._escapes = codecs.lookup(encoding).name in _ONE_BYTE_AT_A_TIME

    def __iter__(self) -> Iterator[str]:
        # A byte that is no character becomes a lone surrogate, so that its line can be told.
        errors = "surrogateescape" if self._escapes else "strict"
        with self._path.open(encoding=self._encoding, errors=errors, newline="") as stream:
            number = 0
            try:
                while line := stream.readline(LONGEST):
                    number += 1
                    yield self._checked(line.removeprefix(_BOM) if number == 1 else line, number)
            except UnicodeError as error:
                raise ValueError(
                    f"line {number + 1} or one of the next: not {self._encoding}: {error}"
                ) from error

    def _checked(self, line: str, number: int) -> str:
        if len(line) == LONGEST:
            raise ValueError(f"line {number}: longer than {LONGEST:,} characters; is this text?")
        if "\0" in line:
            raise ValueError(f"line {number}: a NUL character; is this text?")
        if not line.isascii() and (found := _ESCAPED.search(line)):
            byte = ord(found.group()) - 0xDC00
            raise ValueError(f"line {number}: the byte 0x{byte:02x} is not {self._encoding}")
        return line


_ONE_BYTE_AT_A_TIME = frozenset({"utf-8", "ascii", "cp1252", "iso8859-1", "iso8859-15"})
