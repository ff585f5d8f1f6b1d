"""Read a YAML file that we did not write: plain data of a sane size, or one line that says why not.

The file is checked as a graph of nodes, in which an alias is one node however often it is used, so
a file of 280 bytes that stands for gigabytes is refused before anything is made from it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import ConfigError

__all__ = ["Document", "read"]

_MOST_BYTES = 1_000_000
_MOST_NODES = 10_000
_LONGEST_NUMBER = 1_000
"""Characters: reading a longer one costs the square of its length."""
_CORE = "tag:yaml.org,2002:"
_PLAIN = ("map", "seq", "str", "int", "float", "bool", "null", "merge")
_TAGS = {f"{_CORE}{name}" for name in _PLAIN}
_HEADER = re.compile(r"#\s*@(\w+)\s+(\S+)\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A YAML file, read."""

    file: str
    """As messages name it."""
    config: DictConfig
    lines: dict[str, int]
    """Where each top-level key stands, counted from 1."""
    package: str | None
    """What its header `# @package NAME` says; it may stand in any comment above the first key."""


def read(file: Path, inside: Path) -> Document:
    """Read `file`, which must lie in the folder `inside`, whatever links say.

    Raises:
        ConfigError: One line, `FILE line N: what is wrong`.
    """
    said = _as_told(file)
    if not file.resolve().is_relative_to(inside.resolve()):
        raise ConfigError(f"{said}: leads out of {_as_told(inside)}; copy the file there")
    text = _text(file, said)
    try:
        loader = get_yaml_loader()(text)
        root = loader.get_single_node()
        if root is None:
            return Document(file=said, config=DictConfig({}), lines={}, package=_package(text))
        if not isinstance(root, yaml.MappingNode):
            _refuse(said, root, "must be keys with values, such as 'name: mine'")
        _Weights(said).check(root)
        config = OmegaConf.create(loader.construct_document(root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{said}{line}: {_problem(error)}") from error
    except yaml.reader.ReaderError as error:
        line = f" line {text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(
            f"{said}{line}: has the character {_code(error.character)}, which YAML forbids"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{said}: is nested too deeply") from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        key = getattr(error, "full_key", None)
        raise ConfigError(f"{said}: {f'{key}: ' if key else ''}{why}") from error
    assert isinstance(config, DictConfig)
    lines = {key.value: key.start_mark.line + 1 for key, _ in root.value}
    return Document(file=said, config=config, lines=lines, package=_package(text))


class _Weights:
    """How many nodes and characters a graph stands for, each alias written out."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.known: dict[int, tuple[int, int]] = {}
        self.open: set[int] = set()

    def check(self, root: yaml.Node) -> None:
        nodes, characters = self.weigh(root)
        if nodes > _MOST_NODES:
            raise ConfigError(f"{self.said}: more than 10 000 nodes after expanding aliases")
        if characters > _MOST_BYTES:
            raise ConfigError(f"{self.said}: more than 1 MB after expanding aliases")

    def weigh(self, node: yaml.Node) -> tuple[int, int]:
        if id(node) in self.open:
            _refuse(self.said, node, "an alias stands inside what it stands for")
        if id(node) not in self.known:
            if node.tag not in _TAGS:
                tag = node.tag.replace(_CORE, "!!")
                _refuse(self.said, node, f"the tag {tag} is not allowed; write plain values")
            self.open.add(id(node))
            self.known[id(node)] = self._weigh(node)
            self.open.discard(id(node))
        return self.known[id(node)]

    def _weigh(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            if node.tag != f"{_CORE}str" and len(node.value) > _LONGEST_NUMBER:
                _refuse(self.said, node, f"a number of {len(node.value)} characters")
            return 1, len(node.value)
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            parts = [part for pair in node.value for part in pair]
        else:
            parts = node.value
        nodes, characters = 1, 0
        for part in parts:
            more = self.weigh(part)
            nodes, characters = nodes + more[0], characters + more[1]
        return nodes, characters

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse(self.said, key, "a key must be a word")
            if (key.tag, key.value) in seen:
                _refuse(self.said, key, f"key {key.value!r} given twice")
            seen.add((key.tag, key.value))


def _text(file: Path, said: str) -> str:
    try:
        size = file.stat().st_size
        if size > _MOST_BYTES:
            raise ConfigError(f"{said}: has {size / 1e6:.1f} MB; a config has at most 1 MB")
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{said}: cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{said} line {line}: is not UTF-8; save it as UTF-8") from error


def _code(character: str | int) -> str:
    return f"U+{character if isinstance(character, int) else ord(character):04X}"


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context).split())
    if "'\\t'" in problem:
        return "a tab; indent with spaces"
    if "expected a single document" in " ".join(str(error.context).split()):
        return "a second document ('---'); a config is one"
    return problem


def _package(text: str) -> str | None:
    for line in text.splitlines():
        word = line.strip()
        if word and not word.startswith("#"):
            break
        found = _HEADER.fullmatch(word)
        if found is not None and found.group(1) == "package":
            return found.group(2)
    return None


def _as_told(path: Path) -> str:
    """Return the path as a user would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _refuse(said: str, node: Any, what: str) -> NoReturn:
    raise ConfigError(f"{said} line {node.start_mark.line + 1}: {what}")
