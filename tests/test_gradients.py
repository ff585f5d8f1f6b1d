"""Gradient norms are measured by module before they are cut, and name who never learns."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from test_finetune import (
    LABELS,
    Given,
    make_adapted,
    make_base,
    make_examples,
    metrics,
    train,
    trainer,
)
from torch.nn import functional

from pipeline.artifacts import AdaptedModel
from pipeline.finetune.gradients import GradientNorms, Norms, homes
from pipeline.finetune.sampler import epoch_steps
from pipeline.tasks import task_named

MODULES = [
    "bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.0.attention.self.value",
    "bert.encoder.layer.1.attention.self.query", "bert.encoder.layer.1.attention.self.value",
    "classifier",
]  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    adapted = make_adapted(folder / "adapter", make_base(folder / "base"))
    return adapted, make_examples(folder / "examples")


def lines(folder: Path) -> list[dict[str, Any]]:
    told = (folder / "gradient_norms.jsonl").read_text().splitlines()
    return [json.loads(line) for line in told]


# -- what is measured -------------------------------------------------------------------------


def test_the_file_names_modules_of_the_base_model_and_has_a_line_a_step(
    given: Given, tmp_path: Path
) -> None:
    trained = train(trainer(), given, tmp_path)
    names, *steps = lines(tmp_path)
    assert names == {"modules": MODULES}
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert all(len(line["norms"]) == len(MODULES) and min(line["norms"]) > 0 for line in steps)
    assert trained.unlearned == ()


def test_the_modules_are_those_that_the_placement_says_train(adapted: AdaptedModel) -> None:
    known = {module.name for module in adapted.placement.modules if module.role != "frozen"}
    norms = GradientNorms(adapted.load(trainable=True), None)
    assert set(norms.modules) == known
    assert len(known) == len(norms.modules)


def test_norms_are_those_of_the_steps_gradient_computed_by_hand(
    given: Given, tmp_path: Path
) -> None:
    adapted, examples = given
    train(trainer(num_train_epochs=1, per_device_train_batch_size=3), given, tmp_path)
    table = examples.load("train")
    first = epoch_steps(np.asarray(table["length"]), 8, seed=3, epoch=0, by_length=True)[0]
    collate = task_named("sequence_classification").collate(adapted.base)
    batch = collate([table[int(row)] for row in first])
    labels = batch.pop("labels")
    model = adapted.load(trainable=True)
    torch.autograd.backward(functional.cross_entropy(model(**batch).logits, labels))
    for name, norm in zip(MODULES, lines(tmp_path)[1]["norms"], strict=True):
        module = model.get_base_model().get_submodule(name)
        gradients = [value.grad for value in module.parameters() if value.grad is not None]
        expected = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        assert norm == pytest.approx(expected, rel=1e-3), name


@pytest.mark.parametrize("longest", [0.0, 1e-3, 1.0])
def test_norms_are_measured_before_the_gradient_is_cut(
    given: Given, tmp_path: Path, longest: float
) -> None:
    train(trainer(max_grad_norm=longest), given, tmp_path)
    whole = [line["grad_norm"] for line in metrics(tmp_path) if "loss" in line]
    parts = [math.hypot(*line["norms"]) for line in lines(tmp_path)[1:]]
    assert parts == pytest.approx(whole, rel=1e-3)
    assert max(whole) > 1e-3


def test_the_gradient_is_cut_to_the_bit_as_torch_cuts_it(given: Given) -> None:
    ours, theirs = given[0].load(trainable=True), given[0].load(trainable=True)
    generator = torch.Generator().manual_seed(0)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        if one.requires_grad:
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
    norms = GradientNorms(ours, None)
    measured, total = norms.measure(torch.tensor(0.5))
    norms.clip(0.3, total)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
    assert torch.equal(total, expected)
    assert (measured.loss, measured.total) == (0.5, total.item())
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


# -- who learns -------------------------------------------------------------------------------


def test_adapters_without_any_gradient_are_named_at_the_end(
    given: Given, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A text of one token attends to itself whatever it asks for: queries learn nothing."""
    for split, rows in (("train", 22), ("validation", 13)):
        words = [[2 + number % 18] for number in range(rows)]
        columns = {"input_ids": words, "attention_mask": [[1]] * rows, "length": [1] * rows}
        labels = [word[0] % len(LABELS) for word in words]
        table = Dataset.from_dict(columns | {"labels": labels})
        table.save_to_disk(str(tmp_path / "examples" / split))
    examples = replace(given[1], folder=tmp_path / "examples", longest=1, mean_length=1)
    trained = train(trainer(), (given[0], examples), tmp_path / "out")
    queries = [name for name in MODULES if name.endswith("query")]
    assert trained.unlearned == tuple(queries)
    assert (
        "2 of 5 modules that train never had a gradient, and are as they were: "
        f"{', '.join(queries)}"
    ) in caplog.text
    assert {line["norms"][0] for line in lines(tmp_path / "out")[1:]} == {0.0}
    assert [r.levelno for r in caplog.records if "never had" in r.message] == [logging.WARNING]


# -- how much is kept, and what a resume does with it -----------------------------------------


def norms_of(model: Any, value: float) -> Norms:
    count = len(GradientNorms(model, None).modules)
    return Norms(loss=1.0, total=value, modules=(value,) * count)


@pytest.mark.parametrize(("steps", "every"), [(1000, 1), (1001, 2), (2500, 3)])
def test_a_thousand_steps_are_recorded_at_most_but_all_are_looked_at(
    given: Given, tmp_path: Path, steps: int, every: int
) -> None:
    model = given[0].load(trainable=True)
    norms = GradientNorms(model, tmp_path / "gradient_norms.jsonl")
    nothing, something = norms_of(model, 0.0), norms_of(model, 0.123456)
    for step in range(1, steps + 1):
        norms.record(step, steps, something if step == steps - 1 else nothing)
    assert [line["step"] for line in lines(tmp_path)[1:]] == list(range(1, steps + 1, every))
    assert norms.unlearned == ()


def test_a_resume_keeps_what_was_known_at_its_step(given: Given, tmp_path: Path) -> None:
    model, file = given[0].load(trainable=True), tmp_path / "gradient_norms.jsonl"
    first = GradientNorms(model, file)
    for step in (1, 2, 3, 4):
        first.record(step, 9, norms_of(model, 0.0))
    state = json.loads(json.dumps(first.state()))
    first.record(5, 9, norms_of(model, 0.7))
    with file.open("a") as stream:
        stream.write('{"step": 6, "no')  # killed
    second = GradientNorms(model, file)
    second.restore(state, 4)
    assert second.unlearned == first.modules
    assert [line["step"] for line in lines(tmp_path)[1:]] == [1, 2, 3, 4]
    second.record(5, 9, norms_of(model, 0.5))
    assert lines(tmp_path)[-1] == {"step": 5, "norms": [0.5] * len(MODULES)}
    assert second.unlearned == ()


def test_a_training_that_begins_again_begins_the_file_again(given: Given, tmp_path: Path) -> None:
    train(trainer(), given, tmp_path / "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "gradient_norms.jsonl").write_text('{"modules": []}\n{"step": 1')
    train(trainer(), given, tmp_path / "two")
    assert lines(tmp_path / "two") == lines(tmp_path / "one")


def test_what_is_not_finite_is_null_and_teaches_nothing(given: Given, tmp_path: Path) -> None:
    model = given[0].load(trainable=True)
    norms = GradientNorms(model, tmp_path / "gradient_norms.jsonl")
    norms.record(1, 2, norms_of(model, math.inf))
    norms.record(2, 2, norms_of(model, math.nan))
    assert [line["norms"] for line in lines(tmp_path)[1:]] == [[None] * len(MODULES)] * 2
    assert norms.unlearned == norms.modules


# -- names ------------------------------------------------------------------------------------


def test_parts_of_an_adapter_and_of_a_saved_head_are_called_by_their_module(given: Given) -> None:
    known = homes(given[0].load())
    query = "base_model.model.bert.encoder.layer.0.attention.self.query"
    assert known[f"{query}.lora_A.default"] == MODULES[0]
    assert known[f"{query}.base_layer"] == MODULES[0]
    assert known["base_model.model.classifier.modules_to_save.default"] == "classifier"
    assert known["base_model.model"] == "BertForSequenceClassification"


def test_what_trains_outside_the_base_model_keeps_its_name(given: Given) -> None:
    config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2)
    model = get_peft_model(given[0].base.load(LABELS), config)
    assert GradientNorms(model, None).modules == (
        "classifier",
        "prompt_encoder.default",
    )


def test_adapters_beside_biases_are_one_module(given: Given) -> None:
    config = LoraConfig(r=2, target_modules=["query"], bias="lora_only", task_type="SEQ_CLS")
    names = GradientNorms(get_peft_model(given[0].base.load(LABELS), config), None).modules
    assert names == (MODULES[0], MODULES[2], "classifier")
