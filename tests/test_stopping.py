"""SIGTERM and Ctrl-C while training finish the step and save; a second one leaves at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from reliability import signals
from reliability.trainings import (
    SETTINGS,
    finish,
    kill,
    make_given,
    outcome,
    preload,
    sleepy,
    start,
    steps_done,
    wait_until,
)
from reliability.two_ranks import FAULTS, suffer
from test_finetune import Given, trainer

from pipeline.errors import StoppedError
from pipeline.finetune.engine import Engine
from pipeline.finetune.stopping import Stop
from pipeline.launch.processes import end_all


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    preload()
    return make_given(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def whole(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert finish(start(trainer(**SETTINGS), given, folder))[0].code == 0
    return folder


@pytest.mark.slow
def test_signals_at_random_moments_lose_nothing_and_a_second_one_leaves_at_once(
    tmp_path: Path,
) -> None:
    for figure in signals.measure(1, tmp_path):
        assert figure.bad == 0, (figure.what, figure.notes)


@pytest.mark.slow
def test_an_evaluation_is_not_waited_for(given: Given, tmp_path: Path, whole: Path) -> None:
    prepare = Engine._prepare_inputs

    def slow(self: Engine, inputs: Any) -> Any:
        if not self.model.training:
            (tmp_path / "evaluating").touch()
            time.sleep(1.5)  # of each of four batches
        return prepare(self, inputs)

    def change() -> None:
        Engine._prepare_inputs = slow

    stage, folder = trainer(**SETTINGS | {"save_steps": 50}), tmp_path / "run"
    child = start(stage, given, folder, within=change)[0]
    wait_until((tmp_path / "evaluating").exists, child)
    sent = time.monotonic()
    kill(child, signal.SIGTERM)
    ended = finish([child])[0]
    assert ended.code == 143
    assert "stopped by SIGTERM after step 3 of 9" in ended.stderr
    assert time.monotonic() - sent < 4
    saved = [each.name for each in (folder / "checkpoints").iterdir()]
    assert saved == ["checkpoint-3-unevaluated"]
    assert finish(start(stage, given, folder))[0].code == 0
    assert outcome(folder) == outcome(whole)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_the_same_step(given: Given, tmp_path: Path) -> None:
    stage, folder = trainer(**SETTINGS), tmp_path / "run"
    both = start(stage, given, folder, 2, within=sleepy(0.05, tmp_path))
    wait_until(lambda: steps_done(folder) >= 2, both[0])
    kill(both[1], signal.SIGTERM)
    ended = finish(both)
    assert [each.code for each in ended] == [143, 143]
    assert ended[0].stderr == ended[1].stderr
    assert not any(each.code for each in finish(start(stage, given, folder, 2)))
    assert not any(each.code for each in finish(start(stage, given, tmp_path / "whole", 2)))
    assert outcome(folder) == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_signal_to_every_process_does_not_end_those_that_load_rows(
    given: Given, tmp_path: Path, whole: Path
) -> None:
    change = sleepy(0.1, tmp_path)

    def own_group() -> None:
        os.setsid()
        change()

    stage, folder = trainer(**SETTINGS | {"dataloader_num_workers": 2}), tmp_path / "run"
    child = start(stage, given, folder, within=own_group)[0]
    wait_until(lambda: steps_done(folder) >= 1, child)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
    ended = finish([child])[0]
    assert ended.code == 130
    assert ended.stderr.startswith("error: finetune: stopped by Ctrl-C after step ")
    assert ended.stderr.count("\n") == 1
    assert finish(start(stage, given, folder))[0].code == 0
    assert outcome(folder) == outcome(whole)


@pytest.mark.slow
def test_two_processes_of_a_launcher_save_when_their_parent_is_asked_to_stop(
    given: Given, tmp_path: Path
) -> None:
    stage = trainer(**SETTINGS | {"timeout": 10.0})
    assert not any(each.code for each in finish(start(stage, given, tmp_path / "whole", 2)))
    fault = next(fault for fault in FAULTS if fault.what == "SIGTERM")
    assert suffer(fault, given, tmp_path / "run", tmp_path / "whole")[0] == []


# -- the handlers -----------------------------------------------------------------------------


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Collects the signals that come to this process outside a training."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    yield came
    signal.signal(signal.SIGTERM, before)


def stop(folder: Path, processes: int = 1) -> Stop:
    return Stop(folder / ".failed", processes)


def test_training_again_in_the_same_process_finds_the_handlers_as_they_were(
    given: Given, tmp_path: Path, heard: list[int]
) -> None:
    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = handlers()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        trainer(num_train_epochs=1).run(given, tmp_path / name)
        assert handlers() == before
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_what_was_asked_for_and_not_done_is_asked_again_outside(
    tmp_path: Path, heard: list[int]
) -> None:
    with stop(tmp_path) as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.agreed(torch.device("cpu")) == signal.SIGTERM
        assert heard == []
    assert heard == [signal.SIGTERM]


def test_what_was_done_is_not_asked_again(tmp_path: Path, heard: list[int]) -> None:
    def train() -> None:
        with stop(tmp_path) as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            asked.raise_for(asked.number, 41, 450)

    with pytest.raises(StoppedError) as caught:
        train()
    assert str(caught.value) == (
        "finetune: stopped by SIGTERM after step 41 of 450; it is saved, and the same command goes "
        "on from there"
    )
    assert caught.value.exit_code == 143
    assert heard == []


def _leaves(work: Callable[[], None]) -> int:
    """Return the exit code of a fork of this process that does the work."""
    import forked

    return forked.fork(work).code


def test_of_several_processes_the_same_signal_twice_at_once_counts_once(tmp_path: Path) -> None:
    def twice(pause: float) -> None:
        with stop(tmp_path, processes=2):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(pause)
            os._exit(7)

    assert _leaves(lambda: twice(0.01)) == 7
    assert _leaves(lambda: twice(0.6)) == 143


def test_a_process_that_waits_for_one_that_failed_dies_of_a_signal(tmp_path: Path) -> None:
    with pytest.raises(KeyError), stop(tmp_path, processes=2):
        raise KeyError
    assert (tmp_path / ".failed").exists()
    with pytest.raises(SystemExit) as caught, stop(tmp_path, processes=2):
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143


def test_the_workers_of_a_killed_parent_are_ended_by_their_command_line() -> None:
    code = "import time; time.sleep(60)"
    with (
        subprocess.Popen([sys.executable, "-c", code, "/a/desk"]) as worker,
        subprocess.Popen([sys.executable, "-c", code, "/a/desk2"]) as other,
    ):
        end_all("/a/desk")
        there = [psutil.pid_exists(each.pid) for each in (worker, other)]
        other.kill()
    assert there == [False, True]
