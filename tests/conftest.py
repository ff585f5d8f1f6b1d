"""Fixtures shared by all tests. Nothing here downloads anything."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # tiny models: more threads only wait for one another
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pipeline.artifacts import AdaptedModel, BaseModel, Examples, TrainedModel
from pipeline.build import build_stage
from pipeline.recipes import serve_recipes
from pipeline.shipped import shipped_folder

serve_recipes()

Compose = Callable[..., dict[str, Any]]

LABELS = ("apple", "pear", "plum")


@pytest.fixture(scope="session")
def composed() -> Compose:
    """Return a function that composes the config exactly as the command line would."""

    def compose_with(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(shipped_folder("configs")), version_base="1.3"):
            config = compose("config", overrides=list(overrides))
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]

    return compose_with


def write_rows(file: Path, rows: int, labels: tuple[str, ...] = LABELS) -> Path:
    """Write JSON Lines of a few words and the label that the words name."""
    with file.open("w", encoding="utf-8") as stream:
        for row in range(rows):
            label = labels[row % len(labels)]
            text = f"number {row} is {'very ' * (row % 5)}{label}"
            stream.write(json.dumps({"text": text, "label": label}) + "\n")
    return file


@pytest.fixture(scope="session")
def base(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A BERT of two layers, width 32, with random weights, that reads bytes."""
    stage = build_stage("model", composed("model=random_bert")["model"])
    made = stage.run(None, tmp_path_factory.mktemp("model"))  # type: ignore[attr-defined]
    assert isinstance(made, BaseModel)
    return made


@pytest.fixture(scope="session")
def examples(
    composed: Compose, base: BaseModel, tmp_path_factory: pytest.TempPathFactory
) -> Examples:
    """Sixty rows with three labels, split by the data stage itself."""
    file = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 60)
    config = composed("data=jsonl", f"data.train={file}", "data.test_size=0.2")["data"]
    stage = build_stage("data", config)
    made = stage.run(base, tmp_path_factory.mktemp("data"))  # type: ignore[attr-defined]
    assert isinstance(made, Examples)
    return made


@pytest.fixture(scope="session")
def adapted(
    composed: Compose,
    base: BaseModel,
    examples: Examples,
    tmp_path_factory: pytest.TempPathFactory,
) -> AdaptedModel:
    """LoRA of rank 8 on query and value."""
    stage = build_stage("adapter", composed()["adapter"])
    folder = tmp_path_factory.mktemp("adapter")
    made = stage.run((base, examples), folder)  # type: ignore[attr-defined]
    assert isinstance(made, AdaptedModel)
    return made


@pytest.fixture(scope="session")
def trained(adapted: AdaptedModel, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """The adapted model with every trainable weight moved off its start, as training would."""
    return moved(adapted, tmp_path_factory.mktemp("trained") / "adapter", by=0.3)


def moved(adapted: AdaptedModel, folder: Path, by: float) -> TrainedModel:
    import torch

    model = adapted.load(trainable=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += by * torch.randn(value.shape, generator=generator)
    model.save_pretrained(folder, save_embedding_layers=False)
    return TrainedModel(
        adapted=adapted, folder=folder, steps=1, best_step=1, metric="macro_f1",
        best_metric=0.5, train_loss=1.0, processes=1, device="cpu", precision="no",
    )  # fmt: skip
