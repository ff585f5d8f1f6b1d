"""The folders that Hydra finds configs in, each with plain names only and nothing outside it.

Hydra's own source joins paths, so `model=../../x` would read a file anywhere. These ask for plain
names; and what a user's YAML says is checked as it is read, before Hydra composes anything from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from pipeline.consent import KEY
from pipeline.errors import ConfigError
from pipeline.strict_yaml import Document, read

__all__ = ["PLAIN", "PlainSource", "UserSearchPath", "UserSource", "users_folder"]

PLAIN = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
"""The name of a group or of an option."""

_HERE = ("_global_", "_group_", "_here_")
"""Packages that keep what a file says where it would be anyway."""


class PlainSource(ConfigSource):
    """Reads `plain://FOLDER`: the shipped configs, as Hydra does, but by plain names."""

    @staticmethod
    def scheme() -> str:
        return "plain"

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        folder = self.inside(config_path)
        return folder is not None and folder.is_dir()

    def is_config(self, config_path: str) -> bool:
        file = self._file(config_path)
        return file is not None and file.is_file()

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._file(config_path)
        if file is None or not file.is_file():
            raise ConfigLoadError(f"no config at {config_path}")
        config, header = self.load(file, config_path)
        return ConfigResult(
            provider=self.provider, path=self.full_path(), config=config, header=header
        )

    def load(self, file: Path, config_path: str) -> tuple[Any, dict[str, str | None]]:
        """Return what a file says, and its header."""
        with file.open(encoding="utf-8") as stream:
            header = self._get_header_dict(stream.read(512))
        return OmegaConf.load(file), header

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        folder = self.inside(config_path)
        names: list[str] = []
        for entry in folder.iterdir() if folder is not None else ():
            path = f"{config_path}/{entry.name}" if config_path else entry.name
            self._list_add_result(names, path, entry.name, results_filter)
        return sorted(set(names))

    def inside(self, name: str) -> Path | None:
        """Return where in the folder a name points; None for a name that is not plain."""
        if name == "":
            return Path(self.path)
        return Path(self.path, name) if PLAIN.fullmatch(name) else None

    def _file(self, config_path: str) -> Path | None:
        inside = self.inside(config_path.removesuffix(".yaml")) if config_path else None
        return None if inside is None else inside.with_name(f"{inside.name}.yaml")


class UserSource(PlainSource):
    """Reads `yours://FOLDER`, which is `--config-dir FOLDER`: data alone, and nothing for Hydra."""

    @staticmethod
    def scheme() -> str:
        return "yours"

    def inside(self, name: str) -> Path | None:
        # Its launchers, logging and callbacks are code: only what is installed may configure Hydra.
        return None if name.partition("/")[0] == "hydra" else super().inside(name)

    def load(self, file: Path, config_path: str) -> tuple[Any, dict[str, str | None]]:
        document = read(file, Path(self.path))
        _assert_data(document, config_path.rpartition("/")[0])
        recipe = config_path.startswith("recipe/")
        return document.config, {"package": "_global_" if recipe else document.package}


class UserSearchPath(SearchPathPlugin):
    """Adds the user's folder, if there is one, to every search path Hydra builds."""

    folder: ClassVar[Path | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.append("command-line", f"{UserSource.scheme()}://{self.folder}")


@contextmanager
def users_folder(folder: Path | None) -> Iterator[None]:
    """Let Hydra find configs in `folder`, after the shipped ones, for as long as this lasts."""
    before = UserSearchPath.folder
    UserSearchPath.folder = folder
    try:
        yield
    finally:
        UserSearchPath.folder = before


def _assert_data(document: Document, group: str) -> None:
    """Refuse what only the command line, or nobody, may say.

    Raises:
        ConfigError: With the file and the line.
    """
    config = document.config
    if document.package is not None and document.package not in (*_HERE, group.replace("/", ".")):
        raise ConfigError(
            f"{document.file}: '# @package {document.package}' would put it elsewhere; remove it"
        )
    if document.package not in (None, "_global_") and group == "recipe":
        raise ConfigError(f"{document.file}: a recipe is always '# @package _global_'; remove it")
    for key in config:
        where = f"{document.file} line {document.lines.get(str(key), 1)}"
        first = re.split(r"[./@\[]", str(key))[0]
        if first == "hydra":
            node = config._get_node(key)
            named = _first_path(str(key), node)
            advice = "give --config-dir" if named == "hydra.searchpath" else "remove it"
            raise ConfigError(f"{where}: recipes may not set '{named}'; {advice}")
        if first == KEY:
            raise ConfigError(
                f"{where}: only the command line can give {KEY}; remove it, and run with "
                f"{KEY}=<package> if you trust its code"
            )
    _assert_plain_defaults(document)


def _first_path(key: str, node: object) -> str:
    """Return the first key that a node sets, such as `hydra.callbacks` or `hydra.job.env_set`."""
    while isinstance(node, DictConfig) and len(node) and key.count(".") < 2:
        inner = str(next(iter(node)))
        key, node = f"{key}.{inner}", node._get_node(inner)
        if inner not in ("job", "run", "sweep"):
            break
    return key


def _assert_plain_defaults(document: Document) -> None:
    where = f"{document.file} line {document.lines.get('defaults', 1)}"
    node = document.config._get_node("defaults")
    if node is None:
        return
    defaults = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_list(node) else None
    if not isinstance(defaults, list):
        raise ConfigError(f"{where}: defaults must be a list, such as '- lora_bert'")
    for item in defaults:
        if isinstance(item, str):
            key, values = item, []
        elif isinstance(item, dict) and len(item) == 1:
            key, value = next(iter(item.items()))
            values = value if isinstance(value, list) else [value]
        else:
            raise ConfigError(f"{where}: each of defaults is a name or 'group: name', got {item!r}")
        _assert_plain_default(where, str(key), values)


def _assert_plain_default(where: str, key: str, values: list[Any]) -> None:
    group, _, package = key.split(" ")[-1].partition("@")
    if not PLAIN.fullmatch(group.removeprefix("/").removesuffix(".yaml")):
        raise ConfigError(
            f"{where}: {group!r} in defaults must be a plain name (letters, digits, _ and -)"
        )
    if group.removeprefix("/").partition("/")[0] == "hydra" or "hydra" in re.split(
        r"[.:]", package
    ):
        raise ConfigError(f"{where}: recipes may not set '{key}'; remove it from defaults")
    for value in values:
        if value is not None and not (
            isinstance(value, str) and PLAIN.fullmatch(value.removesuffix(".yaml"))
        ):
            raise ConfigError(
                f"{where}: {group}: {value!r} in defaults must be a plain name (letters, digits, "
                "_ and -)"
            )
