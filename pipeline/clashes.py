"""Two recipes at once, `+recipe=[a,b]`: a key that both set, differently, has no right value."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.recipes import RECIPE

if TYPE_CHECKING:
    from hydra._internal.config_repository import IConfigRepository
    from hydra.core.override_parser.types import Override

__all__ = ["assert_no_clash"]


def assert_no_clash(overrides: Sequence[Override], repository: IConfigRepository) -> None:
    """Compare the recipes that are given together, as their files stand.

    Raises:
        ConfigError: Names the first key that two of them set to different values, unless the
            command line sets it as well.
    """
    values = [
        each.value()
        for each in overrides
        if each.key_or_group == RECIPE and not each.is_sweep_override()
    ]
    names = [name for each in values for name in (each if isinstance(each, list) else [each])]
    explicit = {each.key_or_group for each in overrides}
    told = {str(name): _told(f"{RECIPE}/{name}", repository) for name in names}
    for one, other in combinations(told, 2):
        for key in told[one]:
            if key not in told[other] or told[one][key] == told[other][key]:
                continue
            if not _given(key, explicit):
                raise ConfigError(
                    f"recipes {one!r} and {other!r} both set {key} ({told[one][key]} / "
                    f"{told[other][key]}); give one recipe or set {key} explicitly"
                )


def _told(path: str, repository: IConfigRepository) -> dict[str, Any]:
    """Return what a recipe's own file sets, by key; a choice of an option counts as well."""
    from hydra.core.default_element import GroupDefault
    from omegaconf import OmegaConf

    loaded = repository.load_config(path)
    if loaded is None:
        return {}  # composing it will say so
    told = {
        (default.group or "").lstrip("/"): default.value
        for default in loaded.defaults_list or ()
        if isinstance(default, GroupDefault) and default.override
    }
    config = OmegaConf.to_container(loaded.config, resolve=False)
    return told | dict(_leaves(config, ""))


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _given(key: str, explicit: Collection[str]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in explicit)
