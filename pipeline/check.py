"""Read the command line as Hydra will, and find every mistake in it before Hydra starts.

Hydra makes the run folder before it calls us, stops at the first mistake and says it in its own
words. So what will run is composed here first: once, or once a value of a sweep. The parser, the
search path and the sweeps are Hydra's own (`hydra._internal`, which is why its version is pinned).
Hydra also imports and calls what its own settings name, so these are vetted here as well.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipeline.consent import take_consent
from pipeline.errors import ConfigError, nearest
from pipeline.hydra_keys import assert_permitted, assert_subfolder, assert_untouched
from pipeline.requirements import assert_requirements
from pipeline.sources import PLAIN, PlainSource, users_folder
from pipeline.stage import Plan
from pipeline.vetting import assert_no_secret_typed, in_words, resolved, vetted
from pipeline.wording import one_line, one_option

if TYPE_CHECKING:
    from hydra._internal.hydra import Hydra
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

__all__ = ["Request", "check", "one_line"]

_STAGES = frozenset(field.name for field in fields(Plan))
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
    name: str = ""
    """Of the run."""
    reuse: bool = True
    """Whether what earlier runs made may be used."""
    plan: Plan | None = None
    """Of the run, or of the first job of a sweep."""
    consent: tuple[str, ...] = ()
    """Packages of the user's own whose code may run."""
    config_dir: Path | None = None
    """Folder of the user's own configs; served by `pipeline.sources`, not by Hydra's flag."""


def check(arguments: Sequence[str]) -> Request:
    """Compose and build, without running, all that `arguments` ask for. Writes nothing.

    Raises:
        ConfigError: The command line or the YAML is wrong; all mistakes are listed.
        MachineError: Python or a package is not what this version was made for.
    """
    assert_no_secret_typed(arguments)
    consent, arguments = take_consent(arguments)
    given = _read(arguments)
    if given.shell_completion:
        return Request(
            arguments=[*_flags(given), *given.overrides],
            sweeping=False,
            folder=None,
            consent=consent,
            config_dir=given.config_dir,
        )
    runs = not (given.help or given.hydra_help or given.cfg or given.info)
    folder, name, reuse, plan = None, "", True, None
    if runs:
        assert_requirements()
    with users_folder(given.config_dir), _hydra_for() as hydra:
        groups = hydra.config_loader.list_groups("")
        overrides = _forced(given.overrides, groups)
        if runs or overrides or given.config_dir:  # a bare --help answers sooner without
            assert_permitted(_parsed(hydra, overrides), hydra.config_loader)
            jobs = list(_jobs(overrides, hydra)) if given.multirun else [overrides]
            first, plan = _check_jobs(hydra, given, jobs, consent, build=runs)
            if given.package and given.cfg:
                _assert_there(first, given.package)
            if runs:
                kind = "sweep" if given.multirun else "run"
                folder = Path(resolved(f"hydra.{kind}.dir", first.hydra[kind], "dir"))
                if folder == Path():
                    raise ConfigError(f"hydra.{kind}.dir: empty value; give a folder")
                name, reuse = first.name, first.reuse
    return Request(
        arguments=[*_flags(given), *overrides],
        sweeping=given.multirun,
        folder=folder,
        name=name,
        reuse=reuse,
        plan=plan,
        consent=consent,
        config_dir=given.config_dir,
    )


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
    commands = {"run", "multirun", "cfg", "info", "shell_completion"}
    asked = [f"--{name.replace('_', '-')}" for name in sorted(commands) if vars(given)[name]]
    if len(asked) > 1:
        refuse(f"{' and '.join(asked)} cannot be asked for together")
    if given.resolve and not (given.cfg or given.help):
        refuse("--resolve goes with --cfg or --help")
    if given.experimental_rerun is not None:
        refuse("--experimental-rerun: loads a pickle, which can run code; start the run again")
    if given.config_path is not None:
        refuse("--config-path: would replace what is shipped; give --config-dir, which adds to it")
    if given.config_name is not None and not PLAIN.fullmatch(given.config_name):
        refuse(f"--config-name: must be a plain name, got {given.config_name!r}")
    if given.shell_completion:
        _assert_completion(given.overrides, refuse)
    if given.config_dir is not None:
        folder = Path(given.config_dir).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir: no such folder: {folder}")
        given.config_dir = folder
    return given


def _assert_completion(words: Sequence[str], refuse: Callable[[str], NoReturn]) -> None:
    given = [word.partition("=") for word in words]
    if [key for key, _, _ in given if key in ("install", "uninstall", "query")] != [
        key for key, _, _ in given
    ] or len(given) != 1:
        refuse("--shell-completion: takes install=SHELL, uninstall=SHELL or query=SHELL")
    if given[0][2] not in ("bash", "fish", "zsh"):
        refuse(f"--shell-completion: no shell {given[0][2]!r}; choose bash, fish or zsh")


def _flags(given: Namespace) -> list[str]:
    flags = []
    for name, value in vars(given).items():
        if name not in ("overrides", "config_dir") and value is not None and value is not False:
            flag = f"--{name.replace('_', '-')}"
            flags.append(flag if value is True else f"{flag}={value}")
    return flags


@contextmanager
def _hydra_for() -> Iterator[Hydra]:
    """Give Hydra as `hydra.main` would make it: the same places, searched in the same order."""
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra.core.global_hydra import GlobalHydra

    version.setbase("1.3")
    try:
        yield Hydra.create_main_hydra2("pipeline", _places())
    finally:
        GlobalHydra.instance().clear()


def _places() -> ConfigSearchPath:
    """Return where configs are searched; the shipped ones are read by plain names alone."""
    from hydra._internal.utils import create_config_search_path

    from pipeline.shipped import shipped_folder

    return create_config_search_path(f"{PlainSource.scheme()}://{shipped_folder('configs')}")


def _forced(overrides: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return the overrides with `KEY=VALUE` turned into Hydra's `++KEY=VALUE`.

    Hydra stops at the first key that does not exist and advises to add it. With `++` it composes,
    and `build_plan` names all unknown keys at once, with the nearest known ones.
    """
    turned = []
    for override in overrides:
        key, equals, value = override.partition("=")
        plain = equals and key.replace(".", "_").isidentifier()
        name = key.lstrip("+")
        if equals and not name:
            raise ConfigError(f"cannot read {override!r}: there is no key before its '='")
        if equals and name == "recipe":
            turned.append(f"+recipe={value}")
        elif name in _STAGES and name in groups:
            turned.append(override.lstrip("+"))  # one option is chosen already: this replaces it
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
    parsed = _parsed(hydra, overrides)
    with in_words():
        swept = [found for each in parsed if (found := _values(each))]
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
    most = None if override.key_or_group in {*_STAGES, "recipe"} else _MOST_VALUES
    values = list(islice(override.sweep_string_iterator(), most))
    if not values:  # a glob that matches nothing
        raise ConfigError(f"{key}: no value to sweep over, got {override.get_value_string()}")
    return [f"{key}={value}" for value in values]


def _parsed(hydra: Hydra, overrides: list[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(config_loader=hydra.config_loader)
    parsed: list[Override]
    with in_words():
        parsed = parser.parse_overrides(overrides)
    return parsed


def _check_jobs(
    hydra: Hydra, given: Namespace, jobs: list[list[str]], consent: Sequence[str], *, build: bool
) -> tuple[DictConfig, Plan | None]:
    """Compose every job, and build its plan if asked; return the first config and plan.

    Raises:
        ConfigError: Each mistake once, whatever number of jobs has it.
    """
    from pipeline.build import build_plan

    problems: dict[str, None] = {}
    first, plan = None, None
    for job in jobs:
        try:
            _assert_options(hydra, job)
            composed = _compose(hydra, given.config_name or "config", job, given.config_dir)
            if given.multirun:
                assert_subfolder(composed)
            first = composed if first is None else first
            config, wrong = vetted(composed, consent)
            problems |= dict.fromkeys(wrong)
            if build:
                built = build_plan(config, consent)
                plan = built if plan is None else plan
        except ConfigError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise ConfigError("\n".join(problems))
    assert first is not None
    return first, plan


def _assert_options(hydra: Hydra, overrides: list[str]) -> None:
    """Refuse what is no name of an option: Hydra's own words would not tell the group."""
    from pipeline.clashes import assert_no_clash

    loader, problems = hydra.config_loader, []
    parsed = _parsed(hydra, overrides)
    assert_permitted(parsed, loader)
    for each in parsed:
        group = each.key_or_group
        if each.is_delete() or group not in {*_STAGES, "recipe"}:
            continue
        value = each.value()
        listed = value if group == "recipe" and isinstance(value, list) else [value]
        options = loader.get_group_options(group)
        problems += [said for one in listed if (said := one_option(group, one, options))]
    if problems:
        raise ConfigError("\n".join(problems))
    with in_words():
        assert_no_clash(parsed, loader.repository)  # type: ignore[attr-defined]  # its class has it


def _compose(hydra: Hydra, name: str, overrides: list[str], config_dir: Path | None) -> DictConfig:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from pipeline.recipes import forbid_hidden

    if config_dir is not None:
        forbid_hidden([config_dir])
    with in_words():
        composed = hydra.compose_config(name, list(overrides), RunMode.RUN)
    if config_dir is not None:
        parsed = _parsed(hydra, overrides)
        said = [str(each.input_line) for each in parsed if each.is_hydra_override()]
        with users_folder(None), in_words():
            loader = ConfigLoaderImpl(_places())
            pristine = loader.load_configuration("config", said, RunMode.RUN)
        assert_untouched(composed, pristine, parsed)
    HydraConfig.instance().set_config(composed)  # for ${hydra:...} in a value
    return composed


def _assert_there(composed: DictConfig, package: str) -> None:
    from omegaconf import OmegaConf

    with in_words():
        found = package == "_global_" or OmegaConf.select(composed, package) is not None
    if not found:
        known = [str(key) for key in composed]
        raise ConfigError(f"--package: nothing at {package!r}{nearest(package, known)}")
