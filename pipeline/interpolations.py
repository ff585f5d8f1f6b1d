"""Values that refer to values: no circles, and nothing that grows beyond reason when written out.

`a: ${b}${b}`, `b: ${c}${c}` and so on doubles with every line. OmegaConf would write it all out; so
the sizes are added up first, each value once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import ConfigError

__all__ = ["assert_bounded"]

_MOST = 1_000_000
"""Values and characters of a whole config, written out."""
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_NESTED = re.compile(r"\$\{[^}]*\$\{")
_BY_PATH = ("oc.select", "oc.dict.keys", "oc.dict.values", "oc.deprecated")
"""Resolvers whose first argument is a key of the config."""


def assert_bounded(config: Mapping[str, Any]) -> None:
    """Check a config that is not resolved yet.

    Raises:
        ConfigError: It refers to itself, or is too large written out.
    """
    try:
        size = _Sizes(config).of(())
    except RecursionError as error:
        raise ConfigError("values refer to one another in a chain that is too long") from error
    if size > _MOST:
        raise ConfigError(
            "the config has more than 1 000 000 values and characters with every ${...} written out"
        )


class _Sizes:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.known: dict[tuple[str, ...], int] = {}
        self.open: list[tuple[str, ...]] = []

    def of(self, path: tuple[str, ...]) -> int:
        """Return values and characters of what is at `path`; 0 when nothing is there."""
        if path in self.open:
            circle = [*self.open[self.open.index(path) :], path]
            said = [".".join(each) or "the config" for each in circle]
            raise ConfigError(f"config cycle: {' -> '.join(said)}; give one of them a value")
        if path not in self.known:
            self.open.append(path)
            self.known[path] = self._size(path)
            self.open.pop()
        return self.known[path]

    def _size(self, path: tuple[str, ...]) -> int:
        value: Any = self.config
        for depth, key in enumerate(path):
            if isinstance(value, Mapping):
                value = next((value[each] for each in value if str(each) == key), None)
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:  # `${a.b}` where `a` is itself `${c}`
                return self.of(path[:depth]) if isinstance(value, str) else 0
        if isinstance(value, Mapping):
            return 1 + sum(self.of((*path, str(key))) for key in value)
        if isinstance(value, list):
            return 1 + sum(self.of((*path, str(number))) for number in range(len(value)))
        if not isinstance(value, str):
            return 1
        if _NESTED.search(value):
            raise ConfigError(f"{'.'.join(path)}: one ${{...}} inside another; write it out")
        return len(value) + sum(self.of(key) for key in self._references(path, value))

    def _references(self, path: tuple[str, ...], value: str) -> list[tuple[str, ...]]:
        found = []
        for told in _REFERENCE.findall(value):
            resolver, colon, rest = told.partition(":")
            if colon and resolver.strip() not in _BY_PATH:
                continue
            key = (rest.partition(",")[0] if colon else told).strip(" '\"\t")
            dots = len(key) - len(key.lstrip("."))
            parts = [part for part in re.split(r"[.\[\]]+", key) if part]
            start = path[: len(path) - dots] if 0 < dots <= len(path) else ()
            found.append((*start, *parts))
        return found
