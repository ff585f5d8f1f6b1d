"""Numbers that lie stop a training before they change a weight, and are traced to their origin."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_rows
from forked import command_line, fork
from reliability.numeric import QUERY, Fault, injected, measure, prepare, rows_of_step
from test_finetune import Given, in_two_processes, metrics, train, trainer, weights

from pipeline.artifacts import AdaptedModel
from pipeline.errors import CheckError
from pipeline.finetune.engine import Engine
from pipeline.finetune.guard import Guard, as_ranges, newest_checkpoint


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return prepare(tmp_path_factory.mktemp("given"))


def test_every_kind_of_fault_stops_at_its_step_and_is_traced(tmp_path: Path) -> None:
    (figure,) = measure(8, tmp_path)
    assert figure.notes == ()
    assert (figure.tried, figure.bad) == (8, 0)


# -- what it says -----------------------------------------------------------------------------


def stopped(fault: Fault, given: Given, folder: Path, **settings: Any) -> str:
    with injected(fault), pytest.raises(CheckError) as caught:
        train(trainer(num_train_epochs=3, **settings), given, folder)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_it_names_the_rows_the_module_the_remedy_and_the_last_good_checkpoint(
    given: Given, tmp_path: Path
) -> None:
    said = stopped(Fault(where="output", factor=math.nan, step=8), given, tmp_path)
    rows = as_ranges(rows_of_step(given, 8, batch=8, seed=3))
    assert said == (
        f"finetune: the training loss is nan at step 8, rows {rows} of the training split; "
        f"first not finite: the output of {QUERY}; "
        "lower finetune.learning_rate (now 0.01); last good: checkpoint-6"
    )


def test_one_bad_row_is_named_alone(given: Given, tmp_path: Path) -> None:
    fault = Fault(where="output", factor=math.inf, step=4, row=2)
    said = stopped(fault, given, tmp_path, per_device_train_batch_size=4)
    row = re.search(r"at step 4, rows (\d+) of the training split", said)
    assert row is not None, said
    assert int(row[1]) in rows_of_step(given, 4, batch=8, seed=3)


def test_a_loss_that_explodes_is_compared_with_its_start(given: Given, tmp_path: Path) -> None:
    said = stopped(Fault(where="loss", factor=1e4, step=9), given, tmp_path)
    first = metrics(tmp_path)[0]["loss"]
    found = re.match(
        r"finetune: the training loss, ([\d.e+]+), is ([\d.e+]+) x that of the first step "
        r"\(([\d.]+)\) at step 9, rows [-\d, and]+ of the training split; "
        r"lower finetune.learning_rate \(now 0.01\); last good: checkpoint-6$",
        said,
    )
    assert found is not None, said
    assert float(found[3]) == pytest.approx(first, rel=0.05)
    assert float(found[1]) / first == pytest.approx(float(found[2]), rel=0.02)


def test_after_a_resume_it_still_knows_the_start_and_the_rows(given: Given, tmp_path: Path) -> None:
    stopped(Fault(where="output", factor=math.nan, step=8), given, tmp_path, save_steps=1)
    first = metrics(tmp_path)[0]["loss"]
    said = stopped(Fault(where="loss", factor=1e4, step=10), given, tmp_path, save_steps=1)
    assert [line["step"] for line in metrics(tmp_path) if "loss" in line] == list(range(1, 10))
    assert f"x that of the first step ({first:.2g}) at step 10, " in said
    assert f"rows {as_ranges(rows_of_step(given, 10, batch=8, seed=3))} of" in said
    assert said.endswith("; last good: checkpoint-9")
    recorded = (tmp_path / "gradient_norms.jsonl").read_text().splitlines()
    assert [json.loads(line).get("step") for line in recorded] == [None, *range(1, 10)]


def test_at_the_first_step_the_learning_rate_is_not_blamed(given: Given, tmp_path: Path) -> None:
    said = stopped(Fault(where="loss", factor=math.inf, step=1), given, tmp_path)
    assert said.endswith("; no weight had changed yet: look at these rows")
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def loaded_with(change: Callable[[torch.nn.Module], object]) -> Any:
    """Return what stands for `AdaptedModel.load`, and changes what it loads."""
    load = AdaptedModel.load

    def loaded(self: AdaptedModel, *, trainable: bool = False) -> Any:
        model = load(self, trainable=trainable)
        change(model.get_base_model())
        return model

    return loaded


def test_the_bases_own_weights_are_named_when_they_are_not_finite(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(model: torch.nn.Module) -> None:
        weight = model.get_parameter("bert.encoder.layer.0.output.dense.weight")
        weight.data[3, 3] = math.nan

    monkeypatch.setattr(AdaptedModel, "load", loaded_with(spoil))
    with pytest.raises(CheckError) as caught:
        train(trainer(), given, tmp_path)
    assert str(caught.value).endswith(
        "; first not finite: the output of bert.encoder.layer.0.output.dense; weights of the base "
        "model itself are not finite: bert.encoder.layer.0.output.dense.weight; choose a model "
        "with other weights"
    )


def test_an_adapter_that_starts_broken_is_named(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(model: torch.nn.Module) -> None:
        model.get_parameter(f"{QUERY}.lora_A.default.weight").data[0, 0] = math.nan
        model.get_parameter("classifier.modules_to_save.default.bias").data[0] = math.inf

    monkeypatch.setattr(AdaptedModel, "load", loaded_with(spoil))
    with pytest.raises(CheckError) as caught:
        train(trainer(), given, tmp_path)
    assert str(caught.value).endswith(
        f"; first not finite: the output of {QUERY}; weights of the adapter started like that: "
        f"{QUERY}.lora_A.default.weight and 1 more"
    )


def test_a_validation_loss_that_is_not_finite_stops_before_it_is_kept(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_in_evaluation(module: torch.nn.Module, _: object, output: Any) -> Any:
        return output if module.training else output * math.nan

    def spoil(model: torch.nn.Module) -> None:
        model.get_submodule(QUERY).register_forward_hook(only_in_evaluation)

    monkeypatch.setattr(AdaptedModel, "load", loaded_with(spoil))
    with pytest.raises(
        CheckError,
        match=r"^finetune: the validation loss is nan at step 6, rows [-\d, and]+ of the "
        rf"validation split; first not finite: the output of {QUERY}; lower",
    ):
        train(trainer(), given, tmp_path)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.slow
def test_two_processes_stop_with_the_same_words(given: Given, tmp_path: Path) -> None:
    for where in ("output", "gradient"):
        fault = Fault(where=where, factor=math.nan, step=4)
        with injected(fault, rank=1):
            stage = trainer(per_device_train_batch_size=2)
            one, two = in_two_processes(stage, given, tmp_path / where)
        assert isinstance(one, str)
        assert one == two
        assert one.startswith("CheckError: finetune: the ")
        assert f"first not finite: the {where} of {QUERY};" in one
        every = rows_of_step(given, 4, batch=8, seed=3)
        assert not one.split("rows ")[1].startswith(f"{as_ranges(every)} of"), "rank 0's were fine"


# -- fp16, with the loss scale of a GPU on the CPU ---------------------------------------------


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what makes trainings scale their loss, at first by a given factor."""
    build = Engine.__init__

    def set_scale(first: float) -> None:
        def built(self: Engine, **given: Any) -> None:
            build(self, **given)
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=first)
            self.accelerator.native_amp = True
            self.accelerator.state._mixed_precision = "fp16"

        monkeypatch.setattr(Engine, "__init__", built)

    return set_scale


def test_a_loss_scale_that_is_too_large_is_looked_for_and_not_refused(
    given: Given, tmp_path: Path, scale: Callable[[float], None]
) -> None:
    scale(2.0**26)
    trained = train(trainer(num_train_epochs=3), given, tmp_path)
    lines: list[dict[str, Any]] = [*metrics(tmp_path)]
    norms = [line["grad_norm"] for line in lines if "loss" in line]
    assert norms[0] is None, "a test of the search begins with a scale that is too large"
    found = [norm for norm in norms if norm is not None]
    assert len(found) > 6
    assert 0 < max(found) < 50, "they are those of the loss, not of the scaled one"
    assert all(value.isfinite().all() for value in weights(trained).values())
    assert trained.unlearned == ()


def test_a_gradient_that_no_loss_scale_makes_finite_is_refused(
    given: Given,
    tmp_path: Path,
    scale: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scale(2.0**-8)

    def spoil(model: torch.nn.Module) -> None:
        value = model.get_parameter(f"{QUERY}.lora_B.default.weight")
        value.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(AdaptedModel, "load", loaded_with(spoil))
    with pytest.raises(
        CheckError,
        match=r"^finetune: the length of the gradient is (nan|inf) at step 3, rows .*; first not "
        rf"finite: the gradient of {QUERY}; .* or use finetune.mixed_precision=no$",
    ):
        train(trainer(), given, tmp_path)


# -- what it compares -------------------------------------------------------------------------


def test_a_loss_may_rise_as_far_as_noise_does_and_no_further() -> None:
    guard = Guard()
    assert guard.look(0.7, 1.0) is None
    assert guard.look(69.9, 1.0) is None
    assert guard.look(70.1, 1.0) == (
        "the training loss, 70.1, is 100 x that of the first step (0.7)"
    )


def test_a_start_near_zero_is_no_measure() -> None:
    guard = Guard()
    assert guard.look(0.0001, 1.0) is None
    assert guard.look(9.9, 1.0) is None
    assert guard.look(10.1, 1.0) is not None


def test_a_gradient_is_compared_with_the_longest_before_but_not_at_the_first_steps() -> None:
    guard = Guard()
    assert guard.look(1.0, 0.001) is None
    assert guard.look(1.0, 5e4) is None, "the second step may be the first real one"
    for _ in range(3):
        assert guard.look(1.0, 2.0) is None
    assert guard.look(1.0, 4e8) is None
    assert guard.look(1.0, 5e12) is not None


def test_fp16_may_meet_infinite_gradients_which_count_for_nothing() -> None:
    guard = Guard()
    for _ in range(5):
        assert guard.look(1.0, math.inf, may_skip=True) is None
    assert guard.state()["seen"] == 0
    assert guard.look(1.0, math.inf) == "the length of the gradient is inf"
    assert guard.look(math.nan, 1.0, may_skip=True) == "the training loss is nan"


def test_a_guard_goes_on_where_it_was_asked() -> None:
    one, two = Guard(), Guard()
    for norm in (1.0, 30.0, 2.0):
        one.look(0.5, norm)
    two.restore(one.state())
    for loss, norm in ((0.5, 2e5), (0.5, 4e9), (51.0, 1.0)):
        assert one.look(loss, norm) == two.look(loss, norm)
    assert two.look(51.0, 1.0) is not None


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "none"),
        ([5], "5"),
        ([3, 1, 2], "1-3"),
        ([14, 3, 8, 9, 10], "3, 8-10 and 14"),
        (range(0, 40, 2), "0, 2, 4, 6, 8, 10, 12, 14 and 12 more"),
    ],
)
def test_rows_are_told_as_ranges(rows: list[int], told: str) -> None:
    assert as_ranges(rows) == told


@pytest.mark.slow
def test_a_run_that_explodes_exits_with_4_and_exports_nothing(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    ended = fork(
        command_line(
            "+recipe=lora_bert",
            "model=random_bert",
            "data=jsonl",
            f"data.train={rows}",
            "finetune.learning_rate=1e4",
            "visualize.open=never",
        ),
        cwd=tmp_path,
    )
    assert ended.code == 4, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert re.match(
        r"error: finetune: the training loss, \S+, is \S+ x that of the first step \(1.1\) "
        r"at step \d+, rows .* of the training split; lower finetune.learning_rate \(now 10000\)",
        line,
    ), line
    assert not list(tmp_path.glob("outputs/lora_bert/*/5_*"))
    assert not list(tmp_path.glob("outputs/.store/export/*"))
