"""Every recipe and every family of models runs to its end with a tiny model, and learns.

The bar is computed from the rows: what somebody reaches who knows them and does not look at the
text or the image.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import forked
import pytest
from omegaconf import DictConfig, OmegaConf
from tiny_rows import FAMILIES, TASKS, data

from pipeline.shipped import recipe_names
from pipeline.tasks import NAMES

TINY = Path(__file__).parent / "tiny"
SHIPPED = Path(__file__).parent.parent / "pipeline/data"
ROWS, EPOCHS = 60, 8

RECIPES: Mapping[str, tuple[str, ...]] = {
    "dora_llama": ("model=tiny_llama", "adapter.target_modules=all-linear"),
    "full_bert": ("model=tiny_bert",),
    "ia3_bert": ("model=tiny_bert", "finetune.learning_rate=5e-2"),
    "lora_bert": ("model=tiny_bert",),
    "lora_cnn": (),  # its own model is small
    "lora_gpt2": ("model=tiny_gpt2", "adapter.target_modules=all-linear"),
    "lora_qwen": ("model=tiny_qwen3",),
    "lora_resnet": ("model=tiny_resnet",),
    "lora_t5": ("model=tiny_t5", "adapter.target_modules=all-linear"),
    "lora_vit": ("model=tiny_vit",),
    "prompt_gpt2": ("model=tiny_gpt2",),
    "qlora_llama": ("model=tiny_llama", "model.config.hidden_size=64",
                    "model.config.intermediate_size=128"),
}  # fmt: skip
"""What makes a recipe small enough to be tried here."""
DIGITS = ("lora_cnn", "lora_vit")
"""Recipes that are tried with the data they have; the others with rows that are learned faster."""
NO_BAR = ("prompt_gpt2",)
"""A prompt before a model of random weights says nothing to it: this one has only to run."""
LOOKED_AT = ("inspect_gpt3", "inspect_llama3_70b", "inspect_llama3_8b")
"""Recipes that train nothing: tests/test_inspect.py runs them as they are."""
OTHERS = ("roberta", "distilbert", "modernbert", "deberta_v2", "mistral", "gemma", "convnext")
"""Families that no recipe has."""
UNTRIED = ("timm",)
"""Needs a torchvision that is built for the installed torch, which not every machine can get."""


def chance(labels: Sequence[object]) -> float:
    """Return the accuracy that always naming the commonest label has, and three deviations more.

    The deviation is that of a share among so many rows: sqrt(p (1 - p) / n).
    """
    share = max(Counter(labels).values()) / len(labels)
    return share + 3 * math.sqrt(share * (1 - share) / len(labels))


def by_frequency(texts: Sequence[str]) -> float:
    """Return the perplexity of somebody who knows how often each byte comes, and no more."""
    counts = Counter(byte for text in texts for byte in text.encode())
    total = sum(counts.values())
    return math.exp(-sum(n / total * math.log(n / total) for n in counts.values()))


def targets(config: DictConfig) -> list[str]:
    """Return what is to be learned of the test rows of a run."""
    if "path" in config.data:  # a folder of images
        return [file.parent.name for file in (Path(config.data.path) / "test").rglob("*.png")]
    if config.data._target_.endswith("Digits"):
        from sklearn.datasets import load_digits

        return [str(label) for label in load_digits().target]
    shipped = SHIPPED / str(config.data.get("name")) / "test.jsonl"
    file = shipped if shipped.is_file() else Path(config.data.test)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    column = config.data.label_column or config.data.text_column
    if column == "messages":
        return [turn["content"] for row in rows for turn in row[column] if turn["role"] != "user"]
    return [str(row[column]) for row in rows]


def learns(folder: Path, *arguments: str, bar: bool = True) -> None:
    """Run the whole pipeline, and compare what it learned with the bar, if there is one."""
    command = forked.command_line(
        *arguments, "hydra.run.dir=run", "--config-dir", str(TINY), "visualize.pictures=never",
        "visualize.open=never",
    )  # fmt: skip
    ended = forked.fork(command, cwd=folder, timeout=300)
    assert ended.code == 0, ended.stderr[-3000:]
    run = folder / "run"
    config = OmegaConf.load(run / ".hydra/config.yaml")
    assert isinstance(config, DictConfig)
    told: Mapping[str, Any] = json.loads((run / "5_export/parity.json").read_bytes())
    metrics: Mapping[str, float] = told["formats"]["torch with adapter"]
    if bar and "accuracy" in metrics:
        assert metrics["accuracy"] > chance(targets(config))
    elif bar:
        assert metrics["perplexity"] < by_frequency(targets(config))
    assert told["within_tolerance"]
    for name in ("adapted.onnx", "adapted.view.onnx", "base.view.onnx"):
        assert (run / "5_export/onnx" / name).is_file()
    assert (run / "6_visualize/index.html").is_file()


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    forked.preload()


def test_the_lists_here_have_every_recipe_family_and_task() -> None:
    assert set(RECIPES) | set(LOOKED_AT) == set(recipe_names())
    models = {file.stem.removeprefix("tiny_") for file in (TINY / "model").glob("*.yaml")}
    assert models == set(FAMILIES)
    assert {task for tasks in FAMILIES.values() for task in tasks} == set(TASKS) == set(NAMES)
    small = {each.partition("tiny_")[2] for more in RECIPES.values() for each in more[:1]}
    assert (small - {""}) | {"cnn"} | set(OTHERS) | set(UNTRIED) == set(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_recipe_learns_what_chance_does_not_know(recipe: str, tmp_path: Path) -> None:
    more = RECIPES[recipe]
    own = ["finetune.num_train_epochs=2"]
    if recipe not in DIGITS:
        task = FAMILIES[more[0].partition("tiny_")[2]][0]
        own = [*data(task, tmp_path / "rows", ROWS), f"finetune.num_train_epochs={EPOCHS}"]
    learns(
        tmp_path, f"+recipe={recipe}", *own, "finetune.learning_rate=1e-2",
        "finetune.train_batch_size=8", *more, bar=recipe not in NO_BAR,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS)
def test_family_learns_what_chance_does_not_know(family: str, tmp_path: Path) -> None:
    task = FAMILIES[family][0]
    learns(
        tmp_path, "name=family", f"model=tiny_{family}", *data(task, tmp_path / "rows", ROWS),
        "adapter.target_modules=all-linear", f"finetune.num_train_epochs={EPOCHS}",
        "finetune.learning_rate=1e-2", "finetune.train_batch_size=8",
        'finetune.mixed_precision="no"',
    )  # fmt: skip
