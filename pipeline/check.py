"""Read the command line as Hydra will, and find every mistake in it before Hydra starts.

Hydra makes the run folder before it calls us, stops at the first mistake and says it in its own
words. So what will run is composed here first: once, or once a value of a sweep. The parser, the
search path and the sweeps are Hydra's own (`hydra._internal`, which is why its version is pinned).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from pipeline.errors import ConfigError, among

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

__all__ = ["Request", "check", "one_line"]

_MOST_VALUES = 64
"""Of a longer sweep over one key, the values that are checked before the first job starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asks for; free of mistakes."""

    arguments: list[str]
    """For Hydra's own command line."""
    sweeping: bool
    folder: Path | None
    """Of the run, or of the whole sweep; None when nothing is going to run."""


def check(arguments: Sequence[str]) -> Request:
    """Compose and build, without running, all that `arguments` ask for. Writes nothing.

    Raises:
        ConfigError: The command line or the YAML is wrong; all mistakes are listed.
    """
    given = _read(arguments)
    if given.shell_completion or given.hydra_help or given.experimental_rerun:
        return Request(arguments=list(arguments), sweeping=False, folder=None)
    runs = not (given.help or given.cfg or given.info)
    folder = None
    with _hydra_for(given) as hydra:
        overrides = _forced(given.overrides, hydra.config_loader.list_groups(""))
        if runs or overrides:  # a bare --help answers sooner without
            jobs = list(_jobs(overrides, hydra)) if given.multirun else [overrides]
            first = _check_jobs(hydra, given.config_name or "config", jobs, build=runs)
            folder = _folder(first, "sweep" if given.multirun else "run") if runs else None
    arguments = [*_flags(given), *overrides]
    return Request(arguments=arguments, sweeping=given.multirun, folder=folder)


def one_line(error: Exception) -> str:
    """Say in our words what Hydra or OmegaConf found wrong."""
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, OverrideParseException):
        key, _, value = error.override.lstrip("+").partition("=")
        return f"cannot read the override {key}={value}; quote its value: '{key}=\"{value}\"'"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group}: no {group} {name!r}{among(name, error.options, 'Options')}"
    return " ".join(str(error).split())


def _read(arguments: Sequence[str]) -> Namespace:
    """Read the command line with Hydra's parser; the paths in it become absolute.

    Raises:
        ConfigError: A flag is unknown or has no value, or a folder does not exist.
    """
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help and --hydra-help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # not argparse's exit
    given = parser.parse_intermixed_args(arguments)
    for flag in ("config_dir", "config_path"):
        if (value := getattr(given, flag)) is not None:
            folder = Path(value).resolve()
            if not folder.is_dir():
                raise ConfigError(f"--{flag.replace('_', '-')}: no such folder: {folder}")
            setattr(given, flag, str(folder))
    return given


def _flags(given: Namespace) -> list[str]:
    flags = []
    for name, value in vars(given).items():
        if name != "overrides" and value is not None and value is not False:
            flag = f"--{name.replace('_', '-')}"
            flags.append(flag if value is True else f"{flag}={value}")
    return flags


@contextmanager
def _hydra_for(given: Namespace) -> Iterator[Hydra]:
    """Give Hydra as `hydra.main` would make it: the same places, searched in the same order."""
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    from pipeline.shipped import shipped_folder

    version.setbase("1.3")
    places = create_config_search_path(given.config_path or str(shipped_folder("configs")))
    if given.config_dir is not None:
        anchor = SearchPathQuery(provider="schema")
        places.prepend("command-line", f"file://{given.config_dir}", anchor)
    try:
        yield Hydra.create_main_hydra2("pipeline", places)
    finally:
        GlobalHydra.instance().clear()


def _forced(overrides: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return the overrides with `KEY=VALUE` turned into Hydra's `++KEY=VALUE`.

    Hydra stops at the first key that does not exist and advises to add it. With `++` it composes,
    and `build_plan` names all unknown keys at once, with the nearest known ones.
    """
    turned = []
    for override in overrides:
        key, equals, _ = override.partition("=")
        plain = equals and key.replace(".", "_").isidentifier()
        if plain and key == "recipe":
            turned.append(f"+{override}")
        elif plain and key not in groups and key.partition(".")[0] != "hydra":
            turned.append(f"++{override}")
        else:
            turned.append(override)
    return turned


def _jobs(overrides: list[str], hydra: Hydra) -> Iterator[list[str]]:
    """Give the overrides of enough jobs of a sweep to try each value of each key once.

    Not of all: their number is a product, and each costs a tenth of a second. What is wrong only
    with two values together is said when that job starts.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create(config_loader=hydra.config_loader)
    try:
        swept = [found for each in parser.parse_overrides(overrides) if (found := _values(each))]
    except HydraException as error:
        raise ConfigError(one_line(error)) from error
    first = [values[0] for values in swept]
    yield first
    for place, values in enumerate(swept):
        for value in values[1:]:
            yield [*first[:place], value, *first[place + 1 :]]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        return []  # such as interval(0, 1): only a sweeper knows what it will try
    key = override.get_key_element()
    values = list(islice(override.sweep_string_iterator(), _MOST_VALUES))
    if not values:  # a glob that matches nothing
        raise ConfigError(f"{key}: no value to sweep over, got {override.get_value_string()}")
    return [f"{key}={value}" for value in values]


def _check_jobs(hydra: Hydra, name: str, jobs: list[list[str]], *, build: bool) -> DictConfig:
    """Compose every job, and build its plan if asked; return the first one composed.

    Raises:
        ConfigError: Each mistake once, whatever number of jobs has it.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from pipeline.build import build_plan

    problems: dict[str, None] = {}
    first = None
    for job in jobs:
        try:
            composed = _compose(hydra, name, job)
            first = composed if first is None else first
            if build:
                ours = [str(key) for key in composed if key != "hydra"]
                config = OmegaConf.to_container(OmegaConf.masked_copy(composed, ours), resolve=True)
                build_plan(cast(dict[str, Any], config))
        except ConfigError as error:
            problems |= dict.fromkeys(str(error).splitlines())
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            problems[one_line(error)] = None
    if problems:
        raise ConfigError("\n".join(problems))
    assert first is not None
    return first


def _compose(hydra: Hydra, name: str, overrides: list[str]) -> DictConfig:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from pipeline.recipes import forbid_hidden

    composed = hydra.compose_config(name, list(overrides), RunMode.RUN)
    HydraConfig.instance().set_config(composed)  # for ${hydra:...} in a value
    sources = composed.hydra.runtime.config_sources
    forbid_hidden(
        Path(each.path)
        for each in sources
        if each.schema == "file" and each.provider not in ("hydra", "main")
    )
    return composed


def _folder(composed: DictConfig, kind: str) -> Path:
    from omegaconf.errors import OmegaConfBaseException

    try:
        return Path(str(composed.hydra[kind].dir))
    except OmegaConfBaseException as error:
        raise ConfigError(f"hydra.{kind}.dir: {one_line(error)}") from error
