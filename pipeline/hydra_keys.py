"""What may be said to Hydra itself: a short list, from the command line; from YAML nothing.

Hydra's own node can import classes, run callbacks, open files and set environment variables before
a line of ours runs. So each override is read here first, and where a user's folder takes part, the
node that came out of it is compared with the one that comes out without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.sources import PLAIN
from pipeline.vetting import resolved

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

__all__ = ["assert_permitted", "assert_subfolder", "assert_untouched"]

_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.verbose")
_BELOW = ("hydra.launcher.", "hydra.sweeper.")
_CHOICES = ("hydra/launcher", "hydra/sweeper", "hydra/job_logging", "hydra/hydra_logging")
_ADVICE = {
    "hydra.searchpath": "give your folder with --config-dir",
    "hydra.mode": "sweep with --multirun",
    "hydra.sweeper.params": "write the sweep on the command line",
}
_OURS = (("overrides",), ("runtime",), ("job", "override_dirname"), ("job", "config_name"))
"""What Hydra fills in, from the command line and the machine."""


def assert_permitted(overrides: Sequence[Override], loader: ConfigLoader) -> None:
    """Refuse each override that would reach Hydra's own node, or a file by its path.

    Args:
        overrides: The command line, parsed.
        loader: Knows the groups and their options.

    Raises:
        ConfigError: The first one that is not on the list.
    """
    groups = loader.list_groups("")
    for override in overrides:
        key = override.key_or_group
        if not key:
            raise ConfigError(f"cannot read the override {override.input_line}; write KEY=VALUE")
        if override.package is not None:
            raise ConfigError(
                f"{key}@{override.package}: a group has one place; write {key}=<option>"
            )
        if key.partition(".")[0].partition("/")[0] == "hydra":
            _assert_on_the_list(override, key)
        is_group = key in groups or "/" in key
        if is_group and not override.is_sweep_override() and not override.is_delete():
            value = override.value()
            for name in value if isinstance(value, list) else [value]:
                _assert_plain(key, name, loader)


def assert_untouched(
    composed: DictConfig, pristine: DictConfig, parsed: Sequence[Override]
) -> None:
    """Check that no file of the user's changed what Hydra will do.

    Args:
        composed: What will run, with Hydra's own node.
        pristine: The same without the user's folder.
        parsed: The command line.

    Raises:
        ConfigError: Names the first key that differs.
    """
    from omegaconf import OmegaConf

    said: Any = OmegaConf.to_container(composed.hydra.overrides, resolve=False)
    expected = {
        "hydra": [each.input_line for each in parsed if each.is_hydra_override()],
        "task": [each.input_line for each in parsed if not each.is_hydra_override()],
    }
    differing: list[tuple[str, ...]] = [
        ("overrides", kind) for kind in expected if said[kind] != expected[kind]
    ]
    mine, theirs = (
        OmegaConf.to_container(each.hydra, resolve=False) for each in (composed, pristine)
    )
    differing += _differing(mine, theirs, ())
    if differing:
        raise ConfigError(
            f"recipes may not set 'hydra.{'.'.join(differing[0])}'; remove it from the files in "
            "--config-dir. A primary config of your own must begin with 'defaults: [config]'"
        )


def assert_subfolder(composed: DictConfig) -> None:
    """Check that the folder of a job of a sweep lies in that of the sweep.

    Raises:
        ConfigError: It does not.
    """
    from omegaconf import OmegaConf, open_dict, read_write

    copied = OmegaConf.masked_copy(composed, [str(key) for key in composed])
    with read_write(copied.hydra), open_dict(copied.hydra):
        copied.hydra.job.num, copied.hydra.job.id = 0, "0"
    path = PurePath(resolved("hydra.sweep.subdir", copied.hydra.sweep, "subdir"))
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            f"hydra.sweep.subdir: must be a folder inside hydra.sweep.dir, got {str(path)!r}"
        )


def _assert_on_the_list(override: Override, key: str) -> None:
    value = None if override.is_delete() else override.value()
    if not override.is_delete() and key in (*_KEYS, *_CHOICES):
        return
    below = key.startswith(_BELOW) and not key.startswith("hydra.sweeper.params")
    plain = not any(part.startswith("_") for part in key.split("."))
    if below and plain and not override.is_delete() and not isinstance(value, dict | list):
        return
    advice = next(
        (_ADVICE[known] for known in _ADVICE if key.startswith(known)),
        f"of Hydra these may: {', '.join((*_KEYS, *_CHOICES))}",
    )
    raise ConfigError(f"{key}: may not be set; {advice}")


def _assert_plain(group: str, name: object, loader: ConfigLoader) -> None:
    what = "recipe" if group == "recipe" else f"{group}:"
    if name == "":
        options = ", ".join(loader.get_group_options(group))
        raise ConfigError(f"{what} name is empty; choose one of: {options}")
    if isinstance(name, str) and not PLAIN.fullmatch(name):
        raise ConfigError(f"{what} name {name!r} must be a plain name (letters, digits, _ and -)")


def _differing(mine: Any, theirs: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if path in _OURS:
        return
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            yield from _differing(mine.get(key), theirs.get(key), (*path, str(key)))
    elif mine != theirs:
        yield path
