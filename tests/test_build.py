"""Mistakes in the config are found before anything runs, all of them, in plain words."""

from pathlib import Path

import pytest
from conftest import Compose

from pipeline.build import build_plan, build_stage
from pipeline.errors import ConfigError

RECIPE = "+recipe=lora_bert"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["++adapter.rr=4"], "adapter.rr: unknown key; did you mean 'r'?"),
        (
            ["++data.batchsize=x"],
            "data.batchsize: unknown key; perhaps 'finetune.train_batch_size'. Known keys",
        ),
        (["adapter.r=eight"], "adapter.r: should be a valid integer"),
        (["adapter.r=0"], "adapter.r must be a whole number of at least 1, got 0"),
        (["adapter.lora_alpha=inf"], "adapter.lora_alpha must be a finite number above 0"),
        (["adapter.lora_dropout=-1"], "adapter.lora_dropout must be in [0, 1), got -1"),
        (["adapter.target_modules=[]"], "adapter.target_modules is empty"),
        (["adapter.target_modules='(*'"], "adapter.target_modules: '(*' is not a regular expr"),
        (["adapter.bias=some"], "adapter.bias: should be 'none', 'all' or 'lora_only'"),
        (["~adapter.r"], "adapter.r: missing"),
        (["data=csv"], "data.train: not set; give it with data.train=<value>"),
        (["data.name=suport"], "no shipped data set 'suport'; did you mean 'support'?"),
        (["export.opset=99"], "export.opset must be from 18 to 25, got 99"),
        (["+recipe.name=x"], "recipe: read as a plain value"),
        (["+adaptr=lora"], "adaptr: unknown key; did you mean 'adapter'?"),
        (
            ["adapter._target_=pipeline.adapter.Lorra"],
            "'pipeline.adapter.Lorra' is not allowed; did you mean 'pipeline.adapter.Lora'?",
        ),
        (["adapter._target_=no.such.Thing"], "a class of your own needs allow_code=no on the comm"),
        (["adapter.r=true"], "adapter.r: should be a number, got True"),
        (["adapter.lora_dropout=false"], "adapter.lora_dropout: should be a number, got False"),
        (["adapter.layers_to_transform=[true]"], "should be numbers, got [True]"),
        (["++adapter.rank_pattern={query: true}"], "should be numbers, got {'query': True}"),
        (["++launch.num_processes=2"], "unknown key; launch=multi_gpu has it. Known keys: none"),
        (["++data.delimiter=x", "data=jsonl"], "data.delimiter: unknown key; data=csv has it"),
        (["name=" + "a" * 201], "name: must be at most 200 bytes long"),
        (["seed=-1"], "seed: must be a whole number from 0 to 4294967295, got -1"),
        (["name=a/b"], "name: must be letters, digits"),
    ],
)
def test_mistake_is_named(overrides: list[str], says: str, composed: Compose) -> None:
    with pytest.raises(ConfigError) as caught:
        build_plan(composed(RECIPE, *overrides))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("pipeline.adapter.Lorra", "has no 'Lorra'; did you mean 'Lora'?"),
        ("no.such.Thing", "adapter._target_: cannot import 'no.such'"),
        ("collections.Counter", "is not a stage"),
    ],
)
def test_class_that_was_consented_to_must_exist_and_be_a_stage(
    target: str, says: str, composed: Compose
) -> None:
    config = composed(RECIPE, f"adapter._target_={target}")
    with pytest.raises(ConfigError) as caught:
        build_plan(config, consent=(target.partition(".")[0],))
    assert says in str(caught.value)


def test_all_mistakes_are_listed_at_once(composed: Compose) -> None:
    with pytest.raises(ConfigError) as caught:
        build_plan(composed(RECIPE, "++adapter.rr=4", "++data.batchsize=x", "adapter.r=0"))
    said = str(caught.value).splitlines()
    assert len(said) == 3
    assert any(line.startswith("adapter.rr: unknown key") for line in said)
    assert any(line.startswith("data.batchsize: unknown key") for line in said)
    assert any(line.startswith("adapter.r must be") for line in said)


def test_true_and_false_are_fine_where_they_belong(composed: Compose) -> None:
    plan = build_plan(composed(RECIPE, "adapter.use_dora=true", "visualize.weights=false"))
    assert plan.adapter.use_dora is True  # type: ignore[attr-defined]


def test_class_with_an_annotation_that_means_nothing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, composed: Compose
) -> None:
    (tmp_path / "unannotated.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Mine:\n"
        "    r: 'Nowhere'\n"
        "    def run(self, given, folder): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        build_stage("adapter", {"_target_": "unannotated.Mine", "r": 1}, ("unannotated",))
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("adapter._target_: cannot check Mine: ")


def test_without_a_recipe_the_recipes_are_listed(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"no recipe given; try .* \(available: .*lora_bert"):
        build_plan(composed())


def test_a_run_of_ones_own_needs_only_a_name(composed: Compose) -> None:
    build_plan(composed("name=mine"))


def test_seed_zero_reaches_every_stage_that_has_one(composed: Compose) -> None:
    config = composed(RECIPE, "data=csv", "data.train=x.csv", "seed=7")
    seeds = [
        stage["seed"] for stage in config.values() if isinstance(stage, dict) and "seed" in stage
    ]
    assert len(seeds) >= 3
    assert set(seeds) == {7}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.weights=none"], "model.weights=none has no values to train; use finetune=none"),
    ],
)
def test_training_that_the_model_does_not_allow_is_refused_before_anything_runs(
    overrides: list[str], says: str, composed: Compose
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_plan(composed("+recipe=lora_bert", *overrides))
    assert str(caught.value).startswith(says)
    build_plan(composed("+recipe=lora_bert", *overrides, "finetune=none"))
