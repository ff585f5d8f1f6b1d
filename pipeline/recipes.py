"""Serve the top-level `recipes/` folder as the Hydra config group `recipe`.

Hydra names a group after its folder, so `recipes/lora_bert.yaml` would be `+recipes=lora_bert`.
This source maps `recipe/NAME` to `recipes/NAME.yaml`, always in the package `_global_`. Listing,
`--help`, completion, glob sweeps and "Available options" come from `list`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from pipeline.errors import ConfigError
from pipeline.shipped import shipped_folder
from pipeline.sources import PlainSource, UserSearchPath, UserSource

__all__ = ["RECIPE", "forbid_hidden", "serve_recipes"]

RECIPE = "recipe"
"""Name of the group."""


class RecipeSource(PlainSource):
    """Reads `recipes://FOLDER`; `recipe/a/b` is the file `FOLDER/a/b.yaml`."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def load(self, file: Path, config_path: str) -> tuple[Any, dict[str, str | None]]:
        return OmegaConf.load(file), {"package": "_global_"}

    def is_group(self, config_path: str) -> bool:
        return config_path == "" or super().is_group(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [RECIPE] if results_filter != ObjectType.CONFIG else []
        return super().list(config_path, results_filter)

    def inside(self, name: str) -> Path | None:
        group, _, rest = name.partition("/")
        return super().inside(rest) if group == RECIPE else None


class RecipeSearchPath(SearchPathPlugin):
    """Adds the shipped recipes to every search path Hydra builds."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="recipes", path=f"recipes://{shipped_folder('recipes')}")


def serve_recipes() -> None:
    """Make `+recipe=NAME` and `users_folder` work. Call once, before Hydra composes anything."""
    for plugin in (PlainSource, RecipeSource, RecipeSearchPath, UserSource, UserSearchPath):
        Plugins.instance().register(plugin)


def forbid_hidden(user_folders: Iterable[Path]) -> None:
    """Refuse a user's file that a shipped one of the same name would silently hide.

    Hydra takes the first match on the search path and the shipped files come first.

    Raises:
        ConfigError: The same option, such as `adapter/lora`, is shipped and in a user's folder.
    """
    places = (("configs", Path()), ("recipes", Path(RECIPE)))
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
