"""Looking before training: no steps, no weights, no data, at any size; and the paper's numbers."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import LABELS, Compose

from pipeline.artifacts import AdaptedModel, BaseModel, Examples, TrainedModel
from pipeline.build import build_stage
from pipeline.errors import ConfigError, StageError
from pipeline.finetune import NoTraining, Trainer
from pipeline.launch import Local, MultiGpu
from pipeline.tasks import NAMES, task_named


@dataclass(frozen=True)
class Seen:
    base: BaseModel
    examples: Examples
    adapted: AdaptedModel
    trained: TrainedModel


class Look:
    """Runs the stages up to finetune as the command line would."""

    def __init__(self, composed: Compose, folder: Path) -> None:
        self.composed, self.folder = composed, folder

    def __call__(self, *overrides: str) -> Seen:
        config = self.composed(*overrides)

        def run(name: str, given: object) -> Any:
            (folder := self.folder / name).mkdir()
            return build_stage(name, config[name]).run(given, folder)  # type: ignore[attr-defined]

        base = run("model", None)
        examples = run("data", base)
        adapted = run("adapter", (base, examples))
        return Seen(base, examples, adapted, run("finetune", (adapted, examples)))


@pytest.fixture
def look(composed: Compose, tmp_path: Path) -> Look:
    return Look(composed, tmp_path)


# -- finetune=none -----------------------------------------------------------------------------


def test_recipe_can_be_looked_at_without_training(look: Look) -> None:
    seen = look("+recipe=lora_bert", "model=random_bert", "data=none", "finetune=none")
    trained = seen.trained
    assert (trained.steps, trained.best_step, trained.processes) == (0, 0, 0)
    assert (trained.metric, trained.best_metric, trained.train_loss) == (None, None, None)
    assert trained.adapted is seen.adapted
    assert not list((look.folder / "finetune").iterdir())
    before, after = seen.adapted.load().state_dict(), trained.load().state_dict()
    kept = [name for name in before if ".original_module." not in name]  # a head nobody asks
    assert all((before[name] == after[name]).all() for name in kept)


def test_settings_of_the_training_are_checked_though_none_runs(composed: Compose) -> None:
    def build(*overrides: str) -> None:
        build_stage(
            "finetune", composed("+recipe=lora_bert", "finetune=none", *overrides)["finetune"]
        )

    build("finetune.learning_rate=1e-2")
    with pytest.raises(ConfigError, match=r"finetune\.learning_rat: unknown key.*'learning_rate'"):
        build("+finetune.learning_rat=1e-2")
    with pytest.raises(ConfigError, match=r"finetune\.train_batch_size must be at least 1"):
        build("finetune.train_batch_size=0")


def test_no_training_has_the_settings_and_defaults_of_a_training(composed: Compose) -> None:
    assert [each.name for each in fields(NoTraining)] == [each.name for each in fields(Trainer)]
    none, trainer = composed("finetune=none")["finetune"], composed()["finetune"]
    assert {**none, "_target_": ""} == {**trainer, "_target_": ""}


def test_no_process_is_started_for_nothing_to_train(
    composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    none: Any = build_stage("finetune", composed("finetune=none")["finetune"])
    trainer: Any = build_stage("finetune", composed()["finetune"])
    several = MultiGpu(num_processes=2, main_process_port=None)
    assert several.place(none) is none
    assert several.place(trainer) is not trainer
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    assert Local().place(none) is none
    assert Local().place(trainer) is not trainer


# -- data=none ---------------------------------------------------------------------------------


def test_no_rows_still_give_the_head_its_labels(look: Look) -> None:
    overrides = ("name=t", "model=random_bert", "data=none", "data.num_labels=4", "finetune=none")
    seen = look(*overrides)
    assert seen.examples.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert (seen.examples.train_rows, seen.examples.test_rows) == (0, 0)
    assert seen.adapted.load().get_base_model().config.num_labels == 4


def test_training_without_rows_is_refused(look: Look) -> None:
    with pytest.raises(StageError, match=r"data: no training rows; .* or use finetune=none"):
        look("name=t", "model=random_bert", "data=none")


# -- model.weights=none ------------------------------------------------------------------------


def test_architecture_is_adapted_on_the_meta_device(look: Look, adapted: AdaptedModel) -> None:
    seen = look("name=t", "model=random_bert", "model.weights=none", "data=none", "finetune=none",
                "data.num_labels=3")  # fmt: skip
    assert sorted(file.name for file in seen.adapted.folder.iterdir()) == [
        "adapter_config.json",
        "placement.json",
    ]
    assert seen.adapted.placement == adapted.placement
    assert (seen.adapted.trainable, seen.adapted.total) == (adapted.trainable, adapted.total)
    for model in (seen.adapted.architecture(), seen.adapted.load(), seen.trained.load()):
        assert not model.training
        assert {str(value.device) for value in model.parameters()} == {"meta"}
        assert model.get_nb_trainable_parameters() == (adapted.trainable, adapted.total)
        shapes = {name: value.shape for name, value in model.named_parameters()}
        full = adapted.load(trainable=True)
        assert shapes == {name: value.shape for name, value in full.named_parameters()}


def test_architecture_of_a_trained_adapter_says_what_trains(adapted: AdaptedModel) -> None:
    counts = adapted.architecture().get_nb_trainable_parameters()
    assert counts == (adapted.trainable, adapted.total)


@pytest.mark.parametrize("setting", ["use_dora=true", "init_lora_weights=gaussian", "bias=all"])
def test_every_setting_of_lora_works_without_values(setting: str, look: Look) -> None:
    seen = look("name=t", "model=random_bert", "model.weights=none", "data=none", "finetune=none",
                f"adapter.{setting}")  # fmt: skip
    assert {str(value.device) for value in seen.adapted.load().parameters()} == {"meta"}


def test_wrong_target_is_found_without_weights(look: Look) -> None:
    with pytest.raises(StageError, match=r"'query' matches no module.*Modules end in: down_proj"):
        look("+recipe=inspect_llama3_8b", "adapter.target_modules=[query]")


def test_architecture_cannot_be_trained(given: tuple[AdaptedModel, Examples], composed: Compose,
                                        tmp_path: Path) -> None:  # fmt: skip
    trainer = build_stage("finetune", composed()["finetune"])
    with pytest.raises(StageError) as caught:
        trainer.run(given, tmp_path)  # type: ignore[attr-defined]
    assert str(caught.value) == "model.weights=none has no values to train; use finetune=none"


@pytest.fixture
def given(look: Look) -> tuple[AdaptedModel, Examples]:
    seen = look("name=t", "model=random_bert", "model.weights=none", "data=none", "finetune=none")
    return seen.adapted, seen.examples


# -- tasks -------------------------------------------------------------------------------------


TEXT = [name for name in NAMES if task_named(name).reads == "text" and name != "seq2seq"]


def test_every_task_has_a_metric_and_the_list_below_is_not_empty() -> None:
    assert all(task_named(name).best_metric for name in NAMES)
    assert {"causal_lm", "sequence_classification"} < set(TEXT) < set(NAMES)


@pytest.mark.parametrize("name", TEXT)
def test_example_has_two_lengths_and_a_mask(name: str, base: BaseModel) -> None:
    example = task_named(name).example(base)
    mask = example["attention_mask"]
    assert {value.dtype for value in example.values()} == {torch.int64}
    assert {tuple(value.shape) for value in example.values()} == {tuple(mask.shape)}
    assert len(mask) == 2
    assert mask.shape[1] >= 8
    first, second = mask.sum(dim=1).tolist()
    assert second < first == mask.shape[1]
    base.load(LABELS)(**example)


TINY_LLAMA = (
    "model=llama3_8b", "model.weights=full", "model.config.hidden_size=32",
    "model.config.num_hidden_layers=2", "model.config.num_attention_heads=4",
    "model.config.num_key_value_heads=2", "model.config.intermediate_size=64",
    "model.config.vocab_size=260",
)  # fmt: skip


def test_language_model_is_loaded_adapted_and_run(look: Look) -> None:
    seen = look("+recipe=inspect_llama3_8b", *TINY_LLAMA)
    model = seen.trained.load()
    example = task_named(seen.base.task).example(seen.base)
    with torch.no_grad():
        logits = model(**example).logits
    assert logits.shape == (*example["input_ids"].shape, 260)
    assert logits.isfinite().all()
    assert seen.examples.labels == ()
    assert all(module.role != "trained" for module in seen.adapted.placement.modules)


# -- real numbers ------------------------------------------------------------------------------


def llama(hidden: int, layers: int, heads: int, key_values: int, inner: int, words: int) -> int:
    """Count the parameters of a Llama: no biases, head and embedding of their own."""
    narrow = hidden // heads * key_values
    attention = 2 * hidden * hidden + 2 * hidden * narrow
    block = attention + 3 * hidden * inner + 2 * hidden
    return 2 * words * hidden + layers * block + hidden


def gpt3(hidden: int, layers: int, words: int, positions: int) -> int:
    """Count the parameters of GPT-3's shape as OPT: biases, head tied to the embedding."""
    attention = 4 * (hidden * hidden + hidden)
    feed_forward = 2 * 4 * hidden * hidden + 4 * hidden + hidden
    block = attention + feed_forward + 2 * 2 * hidden
    return (words + positions + 2) * hidden + layers * block + 2 * hidden


@pytest.mark.parametrize(
    ("recipe", "count", "published", "layers"),
    [
        ("inspect_llama3_8b", llama(4096, 32, 32, 8, 14336, 128256), "8.03", 32),
        ("inspect_llama3_70b", llama(8192, 80, 64, 8, 28672, 128256), "70.6", 80),
        ("inspect_gpt3", gpt3(12288, 96, 50257, 2048), "175", 96),
    ],
)
def test_shapes_have_the_published_number_of_parameters(
    recipe: str, count: int, published: str, layers: int, look: Look
) -> None:
    seen = look(f"+recipe={recipe}")
    assert seen.adapted.total - seen.adapted.trainable == count
    decimals = len(published.partition(".")[2])
    assert f"{count / 1e9:.{decimals}f}" == published
    assert len(seen.adapted.placement.adapted) == 2 * layers


@pytest.mark.parametrize(("r", "in_the_paper"), [(1, "4.7"), (8, "37.7")])
def test_lora_on_gpt3_trains_what_the_paper_says(r: int, in_the_paper: str, look: Look) -> None:
    """Hu et al. 2021, Table 4: GPT-3 175B, query and value."""
    seen = look("+recipe=inspect_gpt3", f"adapter.r={r}")
    expected = 96 * 2 * r * (12288 + 12288)
    assert seen.adapted.trainable == expected
    assert f"{expected / 1e6:.1f}" == in_the_paper


def test_lora_on_roberta_trains_what_the_paper_says(look: Look) -> None:
    """Hu et al. 2021, Table 2: RoBERTa base, r = 8 on query and value, the head not counted."""
    sizes = {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "max_position_embeddings": 514, "+vocab_size": 50265,
        "+type_vocab_size": 1,
    }  # fmt: skip
    shape = [
        f"{'+' if key.startswith('+') else ''}model.config.{key.lstrip('+')}={value}"
        for key, value in sizes.items()
    ]
    seen = look("name=t", "model=random_bert", "model.model_type=roberta", "model.weights=none",
                "data=none", "finetune=none", *shape)  # fmt: skip
    expected = 12 * 2 * 8 * (768 + 768)
    assert sum(module.trainable for module in seen.adapted.placement.adapted) == expected
    assert f"{expected / 1e6:.1f}" == "0.3"
    head = 768 * 768 + 768 + 768 * 2 + 2
    assert seen.adapted.trainable == expected + head
