"""The command line. Imports no deep-learning library, so `--help` and mistakes answer at once.

    python -m pipeline +recipe=NAME [GROUP=OPTION] [KEY=VALUE]    run the stages
    python -m pipeline open RUN [PORT]                            look at a finished run again
    python -m pipeline open FILE [class_path=...] [config=...]    look into a file of a model
    python -m pipeline compare RUN RUN [PORT]                     look at two, side by side
    python -m pipeline plan +recipe=NAME [...]                    say what a run would do
    python -m pipeline clean [--dry-run]                          remove what no run needs any more

A run is composed twice: once by `pipeline.check`, to say every mistake at once in our words, and
once by Hydra, in the run folder that was claimed in between.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from pipeline.consent import (
    forget_consent,
    forget_current_folder,
    keep_consent,
    look_in_current_folder,
    take_consent,
)
from pipeline.disk import as_disk_full
from pipeline.endpoint import OFFICIAL, other_hub
from pipeline.errors import ConfigError, PipelineError, StoppedError
from pipeline.launch import (
    assert_asked_processes,
    follow,
    is_follower,
    signals_as_exceptions,
)
from pipeline.scrub import scrub, scrub_logging, trace_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.artifacts import View
    from pipeline.stage import Plan

__all__ = ["main"]

log = logging.getLogger(__name__)

_INTERRUPTED = 130
_ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # errors reach `main`, which says them and knows their exit code
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
    # What is made here is needed until the end; looking for garbage every 700 objects costs a
    # quarter of a drawing.
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)  # and at the end, when all of it goes anyway, two seconds
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # it would let a pickle run code
    forget_current_folder()
    forget_consent()
    try:
        if sys.argv[1:2] == ["open"]:
            _open(sys.argv[2:])
        elif sys.argv[1:2] == ["compare"]:
            _compare(sys.argv[2:])
        elif sys.argv[1:2] == ["plan"]:
            _plan(sys.argv[2:])
        elif sys.argv[1:2] == ["clean"]:
            _clean(sys.argv[2:])
        elif is_follower():
            _let_in_own_code()
            follow()
        else:
            assert_asked_processes()
            _run_with_hydra(sys.argv[1:])
    except PipelineError as error:
        _leave(error)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except Exception as error:  # a bug of ours, whose trace may quote anything
        print(trace_of(error), file=sys.stderr, end="")
        raise SystemExit(1) from error


def _open(arguments: Sequence[str]) -> None:
    from pipeline.artifacts import View
    from pipeline.opening import is_model
    from pipeline.visualize import asked_port, find_view, show

    _, others = take_consent(arguments)
    if others and not others[0].startswith("-") and is_model(Path(others[0])):
        _open_model(others)
        return
    runs, port = _runs_and_port(arguments, 1)
    if not runs:
        raise ConfigError(
            "open: takes one run folder, such as `python -m pipeline open outputs/lora_bert/latest`"
            ", and after it, if you like, a port up to 65535"
        )
    folder = find_view(runs[0])
    show(View(folder=folder, open="auto", port=asked_port(folder) if port is None else port))


def _open_model(arguments: Sequence[str]) -> None:
    """Say what is in a file of a model, and show its graph if it has one."""
    import tempfile

    from pipeline.artifacts import View
    from pipeline.opening import Asked, opened
    from pipeline.visualize import show

    _let_in_own_code()
    asked = Asked.read(arguments)
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        found = opened(asked, Path(folder))
        print(*found.lines, sep="\n", flush=True)
        if found.drawn:
            show(View(folder=Path(folder), open="auto", port=asked.port))


def _compare(arguments: Sequence[str]) -> None:
    from pipeline.artifacts import View
    from pipeline.visualize import compare, show

    runs, port = _runs_and_port(arguments, 2)
    if not runs:
        raise ConfigError(
            "compare: takes two run folders, such as `python -m pipeline compare outputs/r4/latest "
            "outputs/r16/latest`, and after them, if you like, a port up to 65535"
        )
    folder = compare(*runs)
    print(f"The comparison is in {folder}")
    show(View(folder=folder, open="auto", port=port or 0))


def _plan(arguments: Sequence[str]) -> None:
    from pipeline.check import check
    from pipeline.plan import tell
    from pipeline.recipes import serve_recipes
    from pipeline.store import Store, store_folder

    serve_recipes()
    _let_in_own_code()
    asked = check(arguments)
    if asked.plan is None or asked.sweeping:
        raise ConfigError("plan: takes what a single run takes, such as `plan +recipe=lora_bert`")
    latest = Path("outputs", asked.name, "latest")
    for line in tell(asked.plan, Store(store_folder()), latest, reuse=asked.reuse):
        print(line, flush=True)


def _clean(arguments: Sequence[str]) -> None:
    from pipeline.clean import clean
    from pipeline.store import store_folder

    if list(arguments) not in ([], ["--dry-run"]):
        raise ConfigError("clean: takes nothing but --dry-run")
    for line in clean(store_folder(), dry_run=bool(arguments)):
        print(line, flush=True)


def _runs_and_port(arguments: Sequence[str], count: int) -> tuple[list[Path], int | None]:
    """Return `count` runs, and the port after them; no runs where that is not what was given."""
    runs, port = arguments[:count], arguments[count:]
    known = all(each.isdecimal() and int(each) <= 65535 for each in port)
    if len(runs) < count or any(run.startswith("-") for run in runs) or len(port) > 1 or not known:
        return [], None
    return [Path(run) for run in runs], int(port[0]) if port else None


def _run_with_hydra(arguments: Sequence[str]) -> None:
    import hydra
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from pipeline.check import check, one_line
    from pipeline.claim import claimed
    from pipeline.recipes import serve_recipes
    from pipeline.record import assert_goes_on
    from pipeline.shipped import shipped_folder
    from pipeline.sources import users_folder

    serve_recipes()
    _let_in_own_code()
    asked = check(arguments)

    def job(composed: DictConfig) -> None:
        _run(composed, asked.consent)

    sys.argv[1:] = asked.arguments
    with ExitStack() as held:
        held.enter_context(users_folder(asked.config_dir))
        if asked.folder is not None:
            key = f"hydra.{'sweep' if asked.sweeping else 'run'}.dir"
            chosen = any(each.lstrip("+").startswith(f"{key}=") for each in asked.arguments)
            mine = held.enter_context(claimed(asked.folder, chosen=chosen, sweeping=asked.sweeping))
            if asked.plan is not None and not asked.sweeping:
                assert_goes_on(mine, asked.plan)
            folder = QuotedString(str(mine), Quote.single).with_quotes()
            sys.argv.append(f"{key}={folder}")
        configs = str(shipped_folder("configs"))
        try:
            hydra.main(version_base="1.3", config_path=configs, config_name="config")(job)()
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(one_line(error)) from error
        except OSError as error:  # Hydra saves its config before it calls us
            raise as_disk_full(error, asked.folder or Path.cwd()) or error from error


def _let_in_own_code() -> None:
    """With consent, let modules of the current folder be found; Hydra has found its plugins."""
    if consent := take_consent(sys.argv[1:])[0]:
        look_in_current_folder()
        keep_consent(consent)


def _run(composed: DictConfig, consent: tuple[str, ...]) -> None:
    """Build the plan and run it in the folder that Hydra made; called once a job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from pipeline.build import build_plan
    from pipeline.visualize import how_to_look, should_open, show

    hydra_says = HydraConfig.get()
    sweeping = hydra_says.mode == RunMode.MULTIRUN
    config = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    folder = Path(hydra_says.runtime.output_dir)
    home = Path(hydra_says.runtime.cwd, "outputs", config["name"])
    latest = home / "latest" if folder.parent == home and not sweeping else None
    logging.captureWarnings(True)  # those of libraries go to pipeline.log
    scrub_logging()
    try:
        view = _recorded(build_plan(config, consent), config, folder, latest, consent)
    except BaseException as error:
        log.debug("failed", exc_info=True)  # the trace goes to pipeline.log
        said = as_disk_full(error, folder) or error
        if isinstance(said, PipelineError) and (not sweeping or isinstance(said, StoppedError)):
            _leave(said)
        raise  # in a sweep, the other jobs still run
    print(f"The run is recorded in {folder / 'manifest.json'}")
    if not sweeping and should_open(view.open):
        show(view)
    else:
        print(how_to_look(folder))


def _recorded(
    plan: Plan,
    config: dict[str, Any],
    folder: Path,
    latest: Path | None,
    consent: tuple[str, ...],
) -> View:
    """Run the plan; however it ends, the manifest says so."""
    from pipeline.outlook import look_ahead
    from pipeline.record import Record, assert_goes_on, told_plan
    from pipeline.run import run_pipeline
    from pipeline.store import Store, store_folder

    assert_goes_on(folder, plan)
    about = {"name": config["name"], "seed": config["seed"], "plan": told_plan(plan)}
    if consent:
        about["allow_code"] = list(consent)
    hub = other_hub()
    if hub is not None and any(hasattr(stage, "revision") for stage in (plan.model, plan.data)):
        about["hub"] = hub
        log.warning("models and data come from %s, not from %s", hub, OFFICIAL)
    with signals_as_exceptions():
        store = Store(store_folder())
        record = Record(folder, about, store, reuse=config["reuse"], latest=latest)
        try:
            look_ahead(plan, store, reuse=config["reuse"])
            view = run_pipeline(plan, record)
        except BaseException as error:
            record.fail(error)
            raise
        record.finish()
    return view


def _leave(error: PipelineError) -> NoReturn:
    for line in scrub(str(error)).splitlines():
        print(f"error: {line}", file=sys.stderr)
    sys.exit(error.exit_code)
