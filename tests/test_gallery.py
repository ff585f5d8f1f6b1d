"""Families of models and kinds of adapters: each one once here, every pair in scripts/gallery."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from kinds import KINDS, LEFT_OUT, MAIN, Adapted, Kind, RefusedError, each
from peft import PeftType
from peft.tuners.boft.layer import BOFTLayer
from peft.tuners.c3a import layer as c3a
from peft.tuners.cpt.model import CPTEmbedding
from peft.tuners.fourierft.layer import FourierFTLayer
from peft.tuners.frod.layer import Linear as FrodLinear
from peft.tuners.oft.layer import OFTRotationModule
from peft.tuners.poly.router import PolyRouter
from peft.tuners.psoft.layer import OrthLayer
from peft.tuners.shira.layer import Linear as ShiraLinear
from truth import (
    Shown,
    answer,
    check,
    check_answers,
    check_counts,
    check_nodes,
    check_parameters,
    check_paths,
    drawn_adapters,
    levels,
    show,
)
from zoo import FAMILIES

from pipeline.export.graph.tracing.traceable import traceable

MET = [
    ("BERT", "LoRA"), ("RoBERTa", "rsLoRA"), ("DistilBERT", "DoRA"), ("T5", "IA3"),
    ("ALBERT", "AdaLoRA"), ("ResNet", "LoHa"), ("CNN", "LoKr"), ("ViT", "OFT"), ("GPT-2", "VeRA"),
    ("RoBERTa", "prompt tuning"), ("Qwen 3", "prefix tuning"), ("Llama", "P-tuning"),
]  # fmt: skip
REPLACED = (
    (OFTRotationModule, "_cayley_batch"), (BOFTLayer, "cayley_batch"), (OrthLayer, "get_matrix"),
    (ShiraLinear, "get_delta_weight"), (FrodLinear, "_get_frod_tensors"),
    (FrodLinear, "_sparse_activation_mm"), (c3a, "BlockCircularConvolution"),
    (FourierFTLayer, "get_delta_weight"), (PolyRouter, "forward"), (CPTEmbedding, "forward"),
    (torch.linalg, "solve"),
)  # fmt: skip
REWRITTEN = [
    *(KINDS[name] for name in ("BOFT", "PSOFT", "SHiRA", "FRoD", "C3A", "Poly", "HRA", "CPT")),
    KINDS["FourierFT"],
    Kind(
        name="OFT, exact", type=PeftType.OFT,
        settings=each(oft_block_size=16, use_cayley_neumann=False),
    ),
]  # fmt: skip


def test_every_family_and_every_main_kind_is_met_below() -> None:
    assert {family for family, _ in MET} == FAMILIES.keys()
    assert {kind for _, kind in MET} == set(MAIN)


def test_every_kind_that_peft_has_is_in_the_zoo_or_left_out_with_a_reason() -> None:
    shown = {kind.type for kind in KINDS.values()}
    assert shown.isdisjoint(LEFT_OUT)
    assert shown | LEFT_OUT.keys() == set(PeftType)
    assert all(LEFT_OUT.values())


@pytest.mark.parametrize(("family", "kind"), MET)
def test_the_picture_is_true(family: str, kind: str, tmp_path: Path) -> None:
    check(show(family, kind, tmp_path))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return show("CNN", "LoRA", tmp_path_factory.mktemp("shown"))


def weight(graph: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(
        tensor for tensor in graph.graph.initializer if name in tensor.name
    )
    return found


def move_an_adapter(graph: onnx.ModelProto) -> None:
    nodes = (node for _, nodes in levels(graph) for node in nodes)
    next(node for node in nodes if node.name == "hidden").name = "head"


def hide_an_adapter(graph: onnx.ModelProto) -> None:
    nodes = (node for _, nodes in levels(graph) for node in nodes)
    next(node for node in nodes if node.name == "hidden").domain = "nn"


def crowd(graph: onnx.ModelProto) -> None:
    graph.graph.node.extend(
        onnx.helper.make_node("Identity", ["images"], [f"same_{number}"]) for number in range(61)
    )


def miscount(graph: onnx.ModelProto) -> None:
    next(entry for entry in graph.metadata_props if entry.key == "params.frozen").value = "1"


def miscount_an_adapter(graph: onnx.ModelProto) -> None:
    said = drawn_adapters(graph)["hidden"].metadata_props
    next(entry for entry in said if entry.key == "params.trainable").value = "1"


def change_a_weight(graph: onnx.ModelProto) -> None:
    changed = onnx.numpy_helper.to_array(weight(graph, "lora_A")) + 1
    weight(graph, "lora_A").CopyFrom(
        onnx.numpy_helper.from_array(changed, weight(graph, "lora_A").name)
    )


def rename_a_weight(graph: onnx.ModelProto) -> None:
    weight(graph, "lora_B").name = "val_7"


def copy_a_weight(graph: onnx.ModelProto) -> None:
    turned = onnx.numpy_helper.to_array(weight(graph, "lora_A")).T
    graph.graph.initializer.append(onnx.numpy_helper.from_array(turned, "val_8"))


@pytest.mark.parametrize(
    ("spoil", "finds", "says"),
    [
        (move_an_adapter, check_nodes, "not drawn: ['hidden']"),
        (hide_an_adapter, check_nodes, "not drawn: ['hidden']"),
        (crowd, check_nodes, "more than 60 nodes"),
        (miscount, check_counts, "the model is said to have"),
        (miscount_an_adapter, check_counts, "hidden has"),
        (change_a_weight, check_parameters, "other values"),
        (rename_a_weight, check_parameters, "not in the file"),
        (copy_a_weight, check_parameters, "in the file twice"),
    ],
)
def test_a_picture_that_is_not_true_is_found(
    spoil: Callable[[onnx.ModelProto], None],
    finds: Callable[[onnx.ModelProto, Adapted], None],
    says: str,
    shown: Shown,
) -> None:
    graph = shown.graph()
    finds(graph, shown.adapted)
    spoil(graph)
    with pytest.raises(AssertionError, match=re.escape(says)):
        finds(graph, shown.adapted)


def test_an_answer_that_is_off_is_found(shown: Shown) -> None:
    lora = shown.adapted.model.base_model.model.hidden.lora_B["default"].weight
    with torch.no_grad():
        lora.add_(0.001)
    try:
        with pytest.raises(AssertionError, match="off by"):
            check_answers(shown)
    finally:
        with torch.no_grad():
            lora.sub_(0.001)


@pytest.mark.parametrize("told", ["{folder}/model.pt", "modeling_bert.py, line 7"])
def test_a_path_in_the_file_is_found(told: str, shown: Shown, tmp_path: Path) -> None:
    check_paths(shown)
    graph = onnx.load(shown.file, load_external_data=False)
    graph.doc_string = told.format(folder=tmp_path)
    (tmp_path / "view.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(AssertionError, match="in the file"):
        check_paths(dataclasses.replace(shown, file=tmp_path / "view.onnx"))


def test_a_kind_that_peft_refuses_is_told_from_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="Conv1D"):
        show("GPT-2", "LoHa", tmp_path)
    with pytest.raises(RefusedError, match="images"):
        show("ViT", "prompt tuning", tmp_path)


@pytest.mark.parametrize("kind", REWRITTEN, ids=lambda kind: kind.name)
def test_a_kind_made_traceable_computes_what_it_did(kind: Kind) -> None:
    adapted = kind.insert(FAMILIES["Llama"])
    expected = answer(adapted, 3, 7)
    with traceable():
        found = answer(adapted, 3, 7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_peft_is_left_as_it_was() -> None:
    before = [vars(owner)[name] for owner, name in REPLACED]
    adapted = KINDS["BOFT"].insert(FAMILIES["BERT"])
    with traceable():
        assert all(
            vars(owner)[name] is not old
            for (owner, name), old in zip(REPLACED, before, strict=True)
            if owner is not torch.linalg
        )
        answer(adapted, 2, 5)
        weight = torch.nn.Parameter(torch.ones(1))
        assert weight.data.data_ptr() == weight.data_ptr()
    assert [vars(owner)[name] for owner, name in REPLACED] == before
    with pytest.raises(RuntimeError, match="stop"), traceable():
        raise RuntimeError("stop")
    assert [vars(owner)[name] for owner, name in REPLACED] == before
