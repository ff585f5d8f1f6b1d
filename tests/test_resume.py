"""A training that is killed goes on from what it saved, and ends as if it had not been."""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from reliability import training_kills
from reliability.bit_exact import CASES, Case, Moment, kill_and_go_on
from reliability.trainings import (
    SETTINGS,
    Outcome,
    finish,
    make_given,
    outcome,
    preload,
    start,
)
from safetensors.torch import load_file
from test_finetune import Given, make_examples, trainer

from pipeline.artifacts import TrainedModel
from pipeline.errors import StageError
from pipeline.finetune import NoTraining, Trainer
from pipeline.finetune.checkpoints import Checkpoints
from pipeline.finetune.engine import Engine
from pipeline.finetune.tensors import Tensors
from pipeline.memory import RowsAtOnce
from pipeline.seal import flaw


class Killed(BaseException):
    """Ends a training in this process as a kill would."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    preload()
    return make_given(tmp_path_factory.mktemp("given"))


def train(given: Given, folder: Path, **changes: Any) -> TrainedModel:
    folder.mkdir(exist_ok=True)
    made = trainer(**SETTINGS | changes).run(given, folder)
    facts = [made.steps, made.best_step, made.best_metric, made.train_loss]
    (folder / "facts.json").write_text(json.dumps(facts))
    return made


@contextmanager
def dying(event: int) -> Iterator[None]:
    """Let the training inside die after an event: a step's end, or an epoch's."""
    happens = Engine._maybe_log_save_evaluate
    events = 0

    def deadly(self: Engine, *given: Any, **more: Any) -> None:
        nonlocal events
        happens(self, *given, **more)
        events += 1
        if events > event:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "_maybe_log_save_evaluate", deadly)
        try:
            yield
        except Killed:
            return
    pytest.fail("it did not die")


@pytest.fixture(scope="module")
def whole(given: Given, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("whole")
    train(given, folder)
    return outcome(folder)


def names(folder: Path) -> set[str]:
    return {each.name for each in (folder / "checkpoints").iterdir()}


# -- bit for bit ------------------------------------------------------------------------------


SOME = [
    "as it comes", "one row at once", "two workers", "bf16", "rows in any order", "stopping early",
    "half an epoch at the end", "saving at evaluations alone", "schedule inverse_sqrt",
    "two processes, one without rows at the last step", "three processes",
]  # fmt: skip
"""Of all, which scripts/reliability takes."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_a_killed_training_ends_bit_for_bit_as_one_that_was_not(
    given: Given, tmp_path: Path, name: str
) -> None:
    number = SOME.index(name)
    moment = Moment(event=4 + number % 4, saved=number % 2 == 0)
    assert kill_and_go_on(CASES[name], given, tmp_path / "case", [moment]) == []


@pytest.mark.slow
def test_it_does_so_at_the_edges_of_an_epoch_and_at_both_ends(given: Given, tmp_path: Path) -> None:
    moments = [
        Moment(event=0, saved=False),  # before the first checkpoint
        Moment(event=2, saved=True),  # after an epoch's last step, before its evaluation
        Moment(event=3, saved=True),  # after the evaluation
        Moment(event=11, saved=True),  # after the last evaluation
    ]
    assert kill_and_go_on(Case(), given, tmp_path / "case", moments) == []


@pytest.mark.slow
def test_random_kills_lose_nothing(given: Given, tmp_path: Path) -> None:
    figure = training_kills.measure(3, tmp_path)[0]
    assert figure.tried == 3
    assert figure.bad == 0, figure.notes


def test_a_state_that_is_not_restored_would_be_noticed(
    given: Given, tmp_path: Path, whole: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dying(5):
        train(given, tmp_path)
    load = Tensors.load

    def forgetful(self: Tensors, folder: Path, numbers: dict[str, Any]) -> None:
        load(self, folder, numbers)
        self._optimizer.state.clear()

    monkeypatch.setattr(Tensors, "load", forgetful)
    train(given, tmp_path)
    assert outcome(tmp_path) != whole


def test_each_step_is_in_the_metrics_once(given: Given, tmp_path: Path, whole: Outcome) -> None:
    with dying(6):
        train(given, tmp_path, save_steps=4)
    train(given, tmp_path, save_steps=4)
    lines = outcome(tmp_path).metrics
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 10))
    assert lines == whole.metrics
    told = (tmp_path / "metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in told]
    assert seconds == sorted(seconds), "time goes on as well"


def test_tensorboard_shows_each_step_once(given: Given, tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with dying(6):
        train(given, tmp_path, save_steps=4, report_to=("tensorboard",))
    train(given, tmp_path, save_steps=4, report_to=("tensorboard",))
    events = module.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [each.step for each in events.Scalars("train/loss")] == list(range(1, 10))


# -- what is saved ----------------------------------------------------------------------------


def test_a_checkpoint_is_sealed_and_has_no_pickle(given: Given, tmp_path: Path) -> None:
    with dying(3):
        train(given, tmp_path)
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    assert flaw(checkpoint) is None
    assert {each.relative_to(checkpoint).as_posix() for each in checkpoint.rglob("*")} == {
        "adapter",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "buffers.safetensors",
        "optimizer.safetensors",
        "parameters.safetensors",
        "seal.json",
        "state.json",
    }
    parameters = load_file(checkpoint / "parameters.safetensors")
    kinds = {name.split("/")[0] for name in load_file(checkpoint / "optimizer.safetensors")}
    assert kinds == {"step", "exp_avg", "exp_avg_sq"}
    assert all("lora" in name or "classifier" in name for name in parameters)


def test_the_last_two_and_the_best_of_each_are_kept(given: Given, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", tmp_path / "metrics.jsonl")
    seen: set[str] = set()
    for events in (2, 1, 2, 4, 2):  # after 2 steps, at the first epoch's end, after it, ...
        with dying(events - 1):
            train(given, tmp_path)
        now = names(tmp_path)
        last_two = sorted(now, key=lambda name: (int(name.split("-")[1]), -len(name)))[-2:]
        best = {f"checkpoint-{checkpoints.read(name).best_step}" for name in last_two}
        assert now == {*last_two, *best - {"checkpoint-0"}}
        seen |= now
    assert {"checkpoint-3-unevaluated", "checkpoint-3", "checkpoint-8"} <= seen
    train(given, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    ("save_steps", "expected"),
    [(4, {"checkpoint-3", "checkpoint-4"}), (0.2, {"checkpoint-3", "checkpoint-4"})],
)
def test_save_steps_is_a_number_of_steps_or_a_share_of_all(
    given: Given, tmp_path: Path, save_steps: float, expected: set[str]
) -> None:
    with dying(5):  # five steps and an evaluation; 0.2 of nine steps are two
        train(given, tmp_path, save_steps=save_steps)
    assert names(tmp_path) == expected


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_and_a_sentence_with_numbers(
    given: Given, tmp_path: Path, whole: Outcome
) -> None:
    folder = tmp_path / "run"

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        event = Engine._maybe_log_save_evaluate

        def full(self: Engine, *given: Any, **more: Any) -> None:
            if self.state.global_step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
            event(self, *given, **more)

        Engine._maybe_log_save_evaluate = full  # type: ignore[method-assign]

    stage = trainer(**SETTINGS)
    ended = finish(start(stage, given, folder, within=small))[0]
    assert ended.code == 3, ended
    assert ended.stderr.count("\n") == 1
    assert "no room for checkpoint-5 in" in ended.stderr
    assert re.search(r"\(needs about [\d.]+ kB, [\d.]+ [kMGT]B free\)", ended.stderr)
    assert ended.stderr.endswith("and the same command goes on from checkpoint-4\n")
    assert names(folder) == {"checkpoint-3", "checkpoint-4"}
    assert finish(start(stage, given, folder))[0].code == 0
    assert outcome(folder) == whole


# -- what is not trusted ----------------------------------------------------------------------

Damage = Callable[[Path], None]


def _flip(checkpoint: Path) -> None:
    file = checkpoint / "parameters.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a bit": (_flip, "parameters.safetensors is damaged: its sha256 differs"),
    "a file": (
        lambda checkpoint: (checkpoint / "optimizer.safetensors").unlink(),
        "optimizer.safetensors is missing",
    ),
    "the end": (
        lambda checkpoint: os.truncate(checkpoint / "state.json", 9),
        "state.json has 9 bytes",
    ),
    "the seal": (lambda checkpoint: (checkpoint / "seal.json").unlink(), "it was never finished"),
    "more": (
        lambda checkpoint: (checkpoint / "pytorch_model.bin").touch(),
        "pytorch_model.bin does not belong there",
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    given: Given, tmp_path: Path, whole: Outcome, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    with dying(5):
        train(given, tmp_path)
    damage, reason = DAMAGES[what]
    damage(tmp_path / "checkpoints" / "checkpoint-5")
    caplog.set_level(logging.INFO, "pipeline")
    with dying(0):  # one step more: what is set aside is still there
        train(given, tmp_path)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"checkpoint-5: {reason}")
    assert warnings[0].endswith("; using checkpoint-4")
    assert "checkpoint-5.damaged" in names(tmp_path)
    train(given, tmp_path)
    assert outcome(tmp_path) == whole


def test_a_checkpoint_whose_best_adapter_is_damaged_is_not_used(
    given: Given, tmp_path: Path, whole: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    with dying(5):
        train(given, tmp_path)
    assert names(tmp_path) == {"checkpoint-3", "checkpoint-4", "checkpoint-5"}
    (tmp_path / "checkpoints" / "checkpoint-3" / "adapter" / "adapter_config.json").unlink()
    train(given, tmp_path)
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    lost = "adapter/adapter_config.json is missing"
    best = f"the best one so far, checkpoint-3, is of no use: {lost}"
    assert warnings == [
        f"checkpoint-5: {best}; starting again",
        f"checkpoint-4: {best}; starting again",
        f"checkpoint-3: {lost}; starting again",
    ]
    assert outcome(tmp_path) == whole


def test_metrics_that_were_altered_are_noticed(
    given: Given, tmp_path: Path, whole: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    with dying(5):
        train(given, tmp_path)
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text().replace('"step": 1,', '"step": 7,'))
    train(given, tmp_path)
    assert "checkpoint-5: metrics.jsonl is not what it was" in caplog.text
    assert outcome(tmp_path) == whole


def test_what_a_killed_process_left_half_done_is_removed(
    given: Given, tmp_path: Path, whole: Outcome
) -> None:
    with dying(5):
        train(given, tmp_path)
    newest = tmp_path / "checkpoints" / "checkpoint-5"
    shutil.copytree(newest, newest.with_name(".checkpoint-6"))
    shutil.copytree(newest, newest.with_name(".gone-checkpoint-2"))
    shutil.copytree(newest, tmp_path / ".gone-checkpoints")
    shutil.copytree(newest / ".." / "checkpoint-3" / "adapter", tmp_path / "adapter")
    (tmp_path / ".failed").touch()
    train(given, tmp_path)
    assert outcome(tmp_path) == whole


def test_without_a_checkpoint_it_starts_again(given: Given, tmp_path: Path, whole: Outcome) -> None:
    with dying(5):
        train(given, tmp_path, save_steps=50)
    shutil.rmtree(tmp_path / "checkpoints")
    train(given, tmp_path)
    assert outcome(tmp_path) == whole


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learning_rate": 0.02}, "learning_rate was 0.01 and is 0.02"),
        ({"train_batch_size": 16}, "train_batch_size was 8 and is 16"),
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"mixed_precision": "bf16"}, "mixed_precision was no and is bf16"),
        ({"num_train_epochs": 4}, "num_train_epochs was 3 and is 4"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    given: Given, tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    with dying(4):
        train(given, tmp_path)
    with pytest.raises(StageError) as caught:
        train(given, tmp_path, **changes)
    assert str(caught.value) == (
        f"finetune: checkpoint-4 is of another training: {difference}; change that back, or remove "
        f"{tmp_path / 'checkpoints'} to start from the beginning"
    )
    train(given, tmp_path)  # with what it was, it goes on


def test_a_checkpoint_of_other_data_is_refused(given: Given, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with dying(4):
        train(given, folder)
    other = given[0], make_examples(tmp_path / "examples", train=23)
    with pytest.raises(StageError, match=r"checkpoint-4 is of another training: the training data"):
        train(other, folder)


def test_settings_that_change_no_weight_may_change(
    given: Given, tmp_path: Path, whole: Outcome
) -> None:
    with dying(4):
        train(given, tmp_path)
    train(given, tmp_path, save_steps=2, timeout=7, dataloader_num_workers=1)
    assert outcome(tmp_path) == whole


def test_rows_at_once_that_were_halved_stay_halved(
    given: Given, tmp_path: Path, whole: Outcome
) -> None:
    asked = {"per_device_train_batch_size": 8}
    RowsAtOnce(training=3, evaluation=4).remember(tmp_path)
    with dying(4):
        train(given, tmp_path, **asked)
    (tmp_path / ".rows-at-once.json").unlink()  # the checkpoint knows as well
    assert train(given, tmp_path, **asked).per_device_train_batch_size == 3
    assert outcome(tmp_path) == whole


def test_a_checkpoint_from_before_they_were_halved_is_of_no_use(
    given: Given, tmp_path: Path, whole: Outcome
) -> None:
    asked = {"per_device_train_batch_size": 8}
    with dying(4):
        train(given, tmp_path, **asked)
    RowsAtOnce(training=3, evaluation=4).remember(tmp_path)
    assert train(given, tmp_path, **asked).per_device_train_batch_size == 3
    assert outcome(tmp_path) == whole


@pytest.mark.slow
def test_another_number_of_processes_is_refused_by_all_of_them(
    given: Given, tmp_path: Path
) -> None:
    with dying(4):
        train(given, tmp_path)
    for ended in finish(start(trainer(**SETTINGS), given, tmp_path, 2)):
        assert ended.code == 2
        assert "the number of processes was 1 and is 2" in ended.stderr


@pytest.mark.slow
def test_two_processes_agree_on_the_checkpoint_before_a_damaged_one(
    given: Given, tmp_path: Path
) -> None:
    stage, folder = trainer(**SETTINGS), tmp_path / "killed"
    finish(start(stage, given, tmp_path / "whole", 2))

    def die() -> None:
        event = Engine._maybe_log_save_evaluate

        def deadly(self: Engine, *given: Any, **more: Any) -> None:
            event(self, *given, **more)
            if self.state.global_step == 5:
                os.kill(os.getpid(), signal.SIGKILL)

        Engine._maybe_log_save_evaluate = deadly  # type: ignore[method-assign]

    finish(start(stage, given, folder, 2, within=die))
    newest = max(names(folder) - {".checkpoint-5"})
    (folder / "checkpoints" / newest / "state.json").unlink()
    ended = finish(start(stage, given, folder, 2))
    assert [each.code for each in ended] == [0, 0], ended
    assert outcome(folder) == outcome(tmp_path / "whole")


def test_a_training_resumes_and_none_does_not() -> None:
    assert Trainer.resumes is True
    assert NoTraining.resumes is False
