"""What leaves the pipeline computes what was trained, or does not leave."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Compose, moved

from pipeline.artifacts import AdaptedModel, Examples, ExportedModel, TrainedModel
from pipeline.build import build_stage
from pipeline.errors import CheckError

Run = Callable[..., ExportedModel]


@pytest.fixture(scope="module")
def exported(
    trained: TrainedModel,
    examples: Examples,
    composed: Compose,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportedModel:
    stage = build_stage("export", composed()["export"])
    folder = tmp_path_factory.mktemp("export")
    return stage.run((trained, examples), folder)  # type: ignore[attr-defined, no-any-return]


def made(path: Path | None) -> Path:
    assert path is not None
    return path


def test_every_format_is_there(exported: ExportedModel) -> None:
    files = ("view", "adapted", "merged", "parity", "preview")
    assert all(getattr(exported, name).is_file() for name in files)
    assert (made(exported.merged_model) / "model.safetensors").is_file()
    assert (made(exported.adapter) / "adapter_model.safetensors").is_file()


def test_parity_names_the_differences_and_metrics_of_each_format(exported: ExportedModel) -> None:
    told = json.loads(made(exported.parity).read_text())
    assert set(told["formats"]) == {
        "torch with adapter", "merged/", "adapter/",
        "adapted.onnx", "adapted.view.onnx", "merged.onnx",
    }  # fmt: skip
    assert told["within_tolerance"]
    assert told["largest_difference"] < 1e-5
    assert told["effect_of_adapter"] > 1e-3
    reference = told["formats"]["torch with adapter"]
    for metrics in told["formats"].values():
        assert metrics["accuracy"] == reference["accuracy"]
        assert metrics["macro_f1"] == reference["macro_f1"]


def test_probes_have_two_sizes_and_two_lengths_that_are_not_the_exports(
    exported: ExportedModel,
) -> None:
    told = json.loads(made(exported.parity).read_text())
    shapes = [(probe["rows"], probe["tokens"]) for probe in told["probes"]]
    rows, tokens = told["export_shape"]
    assert {size for size, _ in shapes} == {3, 7}
    assert len({length for _, length in shapes}) >= 2
    assert all(size != rows and length != tokens for size, length in shapes)
    assert all(probe["padding"] > 0 for probe in told["probes"])


def test_adapter_folder_loads_with_peft_and_merged_folder_with_transformers(
    exported: ExportedModel, trained: TrainedModel, examples: Examples
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported.merged_model)
    batch = tokenizer(["a plum", "many many apples"], padding=True, return_tensors="pt")
    base = trained.adapted.base.load(examples.labels)
    with_adapter = PeftModel.from_pretrained(base, exported.adapter).eval()
    merged = AutoModelForSequenceClassification.from_pretrained(exported.merged_model).eval()
    with torch.no_grad():
        assert torch.allclose(with_adapter(**batch).logits, merged(**batch).logits, atol=1e-5)
    assert merged.config.id2label == dict(enumerate(examples.labels))


def test_every_lora_weight_keeps_its_name_and_value(
    exported: ExportedModel, trained: TrainedModel
) -> None:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(made(exported.adapted)).graph
    found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    lora = {n: v for n, v in trained.load().named_parameters() if "lora_" in n}
    assert len(lora) == 2 * 2 * 2
    for name, value in lora.items():
        assert np.array_equal(found[name], value.detach().numpy())


def test_difference_beyond_tolerance_fails_with_the_numbers(
    trained: TrainedModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    stage = build_stage("export", composed("export.tolerance=1e-12")["export"])
    with pytest.raises(
        CheckError, match=r"differs from torch with adapter by .*more than 1.00e-12 "
    ):
        stage.run((trained, examples), tmp_path)  # type: ignore[attr-defined]


def test_weight_that_is_not_finite_is_never_exported(
    trained: TrainedModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(trained.folder, tmp_path / "adapter"))
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "lora_B" in name)
    weights[name] = weights[name] * np.float32("nan")
    save_file(weights, file, metadata={"format": "pt"})
    broken = TrainedModel(
        adapted=trained.adapted, folder=folder, steps=1, best_step=1, metric="macro_f1",
        best_metric=0.5, train_loss=1.0, processes=1, device="cpu", precision="no",
    )  # fmt: skip
    stage = build_stage("export", composed()["export"])
    with pytest.raises(CheckError, match=r"1 weights hold NaN or infinity, first: .*lora_B"):
        stage.run((broken, examples), tmp_path / "out")  # type: ignore[attr-defined]
    assert not (tmp_path / "out").exists()


def test_adapter_that_changes_nothing_although_trained_is_refused(
    adapted: AdaptedModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    untouched = moved(adapted, tmp_path / "adapter", by=0.0)  # lora_B is still zero
    stage = build_stage("export", composed()["export"])
    (folder := tmp_path / "out").mkdir()
    with pytest.raises(CheckError, match="switching them off changes no logit"):
        stage.run((untouched, examples), folder)  # type: ignore[attr-defined]


def test_tolerance_is_below_the_effect_of_a_barely_trained_adapter(
    adapted: AdaptedModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    barely = moved(adapted, tmp_path / "adapter", by=1e-3)
    stage = build_stage("export", composed()["export"])
    (folder := tmp_path / "out").mkdir()
    made = stage.run((barely, examples), folder)  # type: ignore[attr-defined]
    told = json.loads(made.parity.read_text())
    assert told["effect_of_adapter"] < 1e-4, "or this test shows nothing"
    assert told["tolerance"] == pytest.approx(told["effect_of_adapter"] / 10)
    assert told["largest_difference"] < told["tolerance"]
