"""Serve the top-level `recipes/` folder as the Hydra config group `recipe`.

Hydra names a group after its folder, so `recipes/lora_bert.yaml` would be `+recipes=lora_bert`.
This source maps `recipe/NAME` to `recipes/NAME.yaml`, always in the package `_global_`. Listing,
`--help`, completion, glob sweeps and "Available options" come from `list`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from pipeline.errors import ConfigError
from pipeline.shipped import shipped_folder

__all__ = ["forbid_hidden", "serve_recipes"]

_GROUP = "recipe"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


class RecipeSource(ConfigSource):
    """Reads `recipes://FOLDER`; `recipe/a/b` is the file `FOLDER/a/b.yaml`."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        return config_path == "" or (
            (inside := self._inside(config_path)) is not None and inside.is_dir()
        )

    def is_config(self, config_path: str) -> bool:
        inside = self._inside(config_path)
        return inside is not None and self._file(inside).is_file()

    def load_config(self, config_path: str) -> ConfigResult:
        inside = self._inside(config_path)
        if inside is None or not (file := self._file(inside)).is_file():
            raise ConfigLoadError(f"no recipe at {config_path}")
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=OmegaConf.load(file),
            header={"package": "_global_"},
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [_GROUP] if results_filter != ObjectType.CONFIG else []
        inside = self._inside(config_path)
        names: list[str] = []
        for entry in inside.iterdir() if inside else ():
            self._list_add_result(names, f"{config_path}/{entry.name}", entry.name, results_filter)
        return sorted(set(names))

    def _inside(self, config_path: str) -> Path | None:
        group, _, rest = config_path.partition("/")
        if group != _GROUP or (rest and not _PLAIN.fullmatch(rest.removesuffix(".yaml"))):
            return None
        return Path(self.path, rest)

    def _file(self, inside: Path) -> Path:
        return inside.with_name(self._normalize_file_name(inside.name))


class RecipeSearchPath(SearchPathPlugin):
    """Adds the shipped recipes to every search path Hydra builds."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="recipes", path=f"recipes://{shipped_folder('recipes')}")


def serve_recipes() -> None:
    """Make `+recipe=NAME` work. Call once, before Hydra composes anything."""
    Plugins.instance().register(RecipeSource)
    Plugins.instance().register(RecipeSearchPath)


def forbid_hidden(user_folders: Iterable[Path]) -> None:
    """Refuse a user's file that a shipped one of the same name would silently hide.

    Hydra takes the first match on the search path and the shipped files come first.

    Raises:
        ConfigError: The same option, such as `adapter/lora`, is shipped and in a user's folder.
    """
    places = (("configs", Path()), ("recipes", Path(_GROUP)))
    shipped = {
        inside / file.relative_to(shipped_folder(name)): file
        for name, inside in places
        for file in shipped_folder(name).rglob("*.yaml")
    }
    for folder in user_folders:
        for option, file in sorted(shipped.items()):
            mine = folder / option
            if mine.is_file() and not mine.samefile(file):
                raise ConfigError(
                    f"{option.parent if option.parent.name else option.stem}: {option.stem!r} is "
                    f"shipped, so {mine} would be ignored; rename your file"
                )
