"""The command line. Imports no deep-learning library, so `--help` and mistakes answer at once.

    python -m pipeline +recipe=NAME [GROUP=OPTION] [KEY=VALUE]    run the stages
    python -m pipeline open RUN                                   look at a finished run again

A single run is composed twice: once here, to check it and say every mistake at once in our words,
and once by Hydra, which makes the run folder.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from pipeline.errors import ConfigError, PipelineError, among
from pipeline.launch import assert_asked_processes, follow, is_follower

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["main"]

log = logging.getLogger(__name__)

_HYDRA_ANSWERS = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i"}
_HYDRA_ANSWERS |= {"--shell-completion", "-sc", "--multirun", "-m", "--run"}
_TAKE_A_VALUE = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"}
_TAKE_A_VALUE |= {"--package", "-p", "--experimental-rerun"}
_INTERRUPTED = 130
_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",  # our tables are written in a blink
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait for one another sleep instead of spinning: as fast on an idle machine, and
    # several times faster on a busy one.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def main() -> None:
    """Run what the command line asks for and leave with the exit code of `pipeline.errors`."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        if sys.argv[1:2] == ["open"]:
            _open(sys.argv[2:])
        elif is_follower():
            follow()
        else:
            assert_asked_processes()
            _run_with_hydra(sys.argv[1:])
    except PipelineError as error:
        _leave(error)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _open(arguments: Sequence[str]) -> None:
    from pipeline.artifacts import View
    from pipeline.visualize import find_view, show

    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise ConfigError(
            "open: takes one run folder, such as `python -m pipeline open outputs/lora_bert/latest`"
        )
    show(View(folder=find_view(Path(arguments[0])), open="auto"))


def _run_with_hydra(arguments: Sequence[str]) -> None:
    import hydra

    from pipeline.recipes import serve_recipes
    from pipeline.shipped import shipped_folder

    serve_recipes()
    overrides = _absolute(arguments)
    if _HYDRA_ANSWERS.isdisjoint(arg.partition("=")[0] for arg in arguments):
        _check(overrides)
    sys.argv[1:] = overrides
    hydra.main(
        version_base="1.3", config_path=str(shipped_folder("configs")), config_name="config"
    )(_run)()


def _run(composed: DictConfig) -> None:
    """Build the plan and run it in the folder that Hydra made; called once a job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from pipeline.build import build_plan
    from pipeline.record import Record
    from pipeline.run import run_pipeline
    from pipeline.visualize import how_to_look, should_open, show

    hydra_says = HydraConfig.get()
    sweeping = hydra_says.mode == RunMode.MULTIRUN
    config = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    logging.captureWarnings(True)  # those of libraries go to pipeline.log
    try:
        plan = build_plan(config)
        folder = Path(hydra_says.runtime.output_dir)
        record = Record(folder, about={"name": config["name"], "seed": config["seed"]})
        try:
            view = run_pipeline(plan, record)
        except BaseException as error:
            record.fail(error)
            raise
        record.finish()
    except PipelineError as error:
        log.debug("failed", exc_info=True)  # the trace goes to pipeline.log
        if sweeping:  # the other jobs of the sweep still run
            raise CompactHydraException(f"{type(error).__name__}: {error}") from error
        _leave(error)
    print(folder / "manifest.json")
    if not sweeping and should_open(view.open):
        show(view)
    else:
        print(how_to_look(folder))


def _absolute(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `KEY=VALUE` turned into Hydra's `++KEY=VALUE`.

    Hydra stops at the first key that does not exist and advises to add it. With `++` it composes,
    and `build_plan` names all unknown keys at once, with the nearest known ones.
    """
    from pipeline.shipped import shipped_folder

    groups = {entry.name for entry in shipped_folder("configs").iterdir() if entry.is_dir()}
    turned: list[str] = []
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        is_value = turned and arguments[len(turned) - 1] in _TAKE_A_VALUE
        if is_value or not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            turned.append(argument)
        elif key == "recipe":
            turned.append(f"+{argument}")
        elif key in groups or key.partition(".")[0] == "hydra":
            turned.append(argument)
        else:
            turned.append(f"++{argument}")
    return turned


def _check(arguments: Sequence[str]) -> None:
    """Compose and build once without running, so that mistakes cost a second and write nothing.

    Raises:
        ConfigError: The command line or the YAML is wrong; all mistakes are listed.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from pipeline.build import build_plan
    from pipeline.recipes import forbid_hidden_recipe
    from pipeline.shipped import shipped_folder

    overrides, folders = _split(arguments)
    if folders:  # what --config-dir does, for a composition that has no such flag
        overrides.append(f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]")
    try:
        with initialize_config_dir(str(shipped_folder("configs")), version_base="1.3"):
            composed = compose("config", overrides=overrides)
            config = OmegaConf.to_container(composed, resolve=True)
    except MissingConfigException as error:
        raise ConfigError(_missing(error)) from error
    except OverrideParseException as error:
        key, _, value = error.override.lstrip("+").partition("=")
        raise ConfigError(
            f"cannot read the override {key}={value}; quote its value: '{key}=\"{value}\"'"
        ) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(" ".join(str(error).split())) from error
    finally:
        GlobalHydra.instance().clear()
    for argument in overrides:
        key, _, value = argument.partition("=")
        if key.lstrip("+") == "recipe":
            forbid_hidden_recipe(value, folders)
    build_plan(cast(dict[str, Any], config))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Return the overrides and the folders of `--config-dir`.

    Raises:
        ConfigError: A folder does not exist.
    """
    overrides: list[str] = []
    folders: list[Path] = []
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option in _TAKE_A_VALUE:
            value = value if equals else next(rest, "")
            if option in ("--config-dir", "-cd"):
                folders.append(Path(value).resolve())
        elif not argument.startswith("-"):
            overrides.append(argument)
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir: no such folder: {folder}")
    return overrides, folders


def _missing(error: Any) -> str:
    """Say which option does not exist, the nearest one, and all there are."""
    if error.missing_cfg_file is None or not error.options:
        return " ".join(str(error).split())
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    return f"{group}: no {group} {name!r}{among(name, error.options, 'Options')}"


def _leave(error: PipelineError) -> NoReturn:
    for line in str(error).splitlines():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(error.exit_code)
