"""The pictures: costs by the formula, norms of what was learned, the same without values."""

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import LABELS, Compose
from peft import BOFTConfig, LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from pipeline.adapter.placement import place
from pipeline.artifacts import AdaptedModel, BaseModel, Examples, ExportedModel, TrainedModel
from pipeline.build import build_stage
from pipeline.errors import StageError
from pipeline.export.graph import fold, gather, save, shorten, trace
from pipeline.export.graph.tracing.costs import TOKENS
from pipeline.export.picture import operations
from pipeline.export.updates import with_updates
from pipeline.placement import Placement
from pipeline.tasks import task_named

WIDTH, INNER, LAYERS, R = 32, 64, 2, 8  # of model=random_bert and adapter=lora
QUERY = "bert.encoder.layer.1.attention.self.query"


def drawn(
    composed: Compose, adapted: AdaptedModel, examples: Examples, folder: Path
) -> ExportedModel:
    stage = build_stage("export", composed()["export"])
    given = TrainedModel(adapted=adapted, folder=adapted.folder, steps=0, best_step=0)
    return stage.run((given, examples), folder)  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def untrained(
    composed: Compose,
    adapted: AdaptedModel,
    examples: Examples,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportedModel:
    return drawn(composed, adapted, examples, tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="module")
def exported(
    composed: Compose,
    trained: TrainedModel,
    examples: Examples,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportedModel:
    stage = build_stage("export", composed()["export"])
    return stage.run((trained, examples), tmp_path_factory.mktemp("trained"))  # type: ignore[attr-defined, no-any-return]


def nodes(file: Path) -> dict[str, onnx.NodeProto]:
    """Return every node of a graph and its functions by name."""
    model = onnx.load(file, load_external_data=False)
    return {node.name: node for graph in (model.graph, *model.functions) for node in graph.node}


def told(node: onnx.NodeProto | onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in node.metadata_props}


def test_operations_are_those_of_the_formula(untrained: ExportedModel) -> None:
    placement = Placement.read(untrained.placement)
    assert placement.flops_per == f"token in a text of {TOKENS}"
    layer = 2 * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER) + 2 * TOKENS * 2 * WIDTH
    head = 2 * (WIDTH * WIDTH + WIDTH * len(LABELS)) / TOKENS  # of one token of the text
    assert sum(m.flops or 0 for m in placement.modules) == pytest.approx(
        LAYERS * layer + head, abs=1
    )
    added = {m.name: m.adapter_flops for m in placement.modules if m.adapter_flops is not None}
    assert set(added.values()) == {2 * R * (WIDTH + WIDTH)}
    assert set(added) == {m.name for m in placement.adapted}


def test_the_nodes_and_the_model_say_what_they_cost(untrained: ExportedModel) -> None:
    model = onnx.load(untrained.view, load_external_data=False)
    placement = Placement.read(untrained.placement)
    total = sum(m.flops or 0 for m in placement.modules)
    added = sum(m.adapter_flops or 0 for m in placement.modules)
    assert told(model)["flops.without_adapter"] == str(total)
    assert told(model)["flops.with_adapter"] == str(total + added)
    query = told(nodes(untrained.view)[QUERY])
    assert query["flops.without_adapter"] == str(2 * WIDTH * WIDTH)
    assert query["flops.with_adapter"] == str(2 * WIDTH * WIDTH + 2 * R * (WIDTH + WIDTH))
    block = told(nodes(untrained.view)["bert.encoder.layer.1"])
    assert block["adapters"] == "2"
    assert block["params.trainable"] == str(2 * R * (WIDTH + WIDTH))


def test_the_model_says_which_weights_it_is_of_and_nothing_of_a_run_or_a_folder(
    untrained: ExportedModel, base: BaseModel
) -> None:
    said = told(onnx.load(untrained.view, load_external_data=False))
    assert said["base_model"] == base.name
    assert said["base_weights.model.safetensors"] == f"sha256 {base.weights[0].sha256}"
    assert "run" not in said, "other runs use the same file"
    folders = {str(untrained.view.parent), str(base.weights[0].path.parent)}
    assert not [value for value in said.values() if any(folder in value for folder in folders)]
    assert said["peft.target_modules"] == "query, value"


def test_the_base_costs_the_same_without_adapters(untrained: ExportedModel) -> None:
    base = told(onnx.load(untrained.base_view, load_external_data=False))
    adapted = told(onnx.load(untrained.view, load_external_data=False))
    assert base["flops.without_adapter"] == adapted["flops.without_adapter"]
    assert base["params.trainable"] == "0"
    matrices = LAYERS * 2 * R * (WIDTH + WIDTH)
    head = WIDTH * len(LABELS) + len(LABELS)  # the one that trains is a copy: PEFT counts both
    assert int(base["params.frozen"]) == int(adapted["params.frozen"])
    assert int(adapted["params.trainable"]) == matrices + head


def test_a_module_has_one_name_in_both_pictures(untrained: ExportedModel) -> None:
    adapted, base = nodes(untrained.view), nodes(untrained.base_view)
    ours = {name for name, node in adapted.items() if node.domain == "peft"}
    assert ours == {
        m.name for m in Placement.read(untrained.placement).modules if m.role != "frozen"
    }
    assert ours <= set(base)
    assert not any(node.domain == "peft" for node in base.values())


def test_a_picture_without_training_has_no_values(untrained: ExportedModel) -> None:
    assert untrained.adapted is None
    assert untrained.parity is None
    for file in (untrained.view, untrained.base_view):
        for tensor in onnx.load(file, load_external_data=False).graph.initializer:
            if "." in tensor.name:
                assert tensor.data_location == onnx.TensorProto.EXTERNAL, tensor.name
    assert sorted(path.name for path in untrained.view.parent.iterdir()) == [
        "adapted.view.onnx", "base.view.onnx",
    ]  # fmt: skip


def test_a_picture_without_values_is_that_of_the_trained_model(
    untrained: ExportedModel, exported: ExportedModel
) -> None:
    one, other = (onnx.load(each.view, load_external_data=False) for each in (untrained, exported))

    def calls(model: onnx.ModelProto) -> list[object]:
        graphs = (model.graph, *sorted(model.functions, key=lambda each: each.name))
        return [(n.op_type, n.name) for graph in graphs for n in graph.node if n.domain]

    assert calls(one) == calls(other)
    dims = [
        {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
        for model in (one, other)
    ]
    assert dims[0] == dims[1]


def test_nothing_but_the_adapters_differs_from_the_base(exported: ExportedModel) -> None:
    def steps(file: Path) -> list[tuple[str, str]]:
        model = onnx.load(file, load_external_data=False)
        (block,) = (each for each in model.functions if each.name == "BertLayer_1")
        seen = [(node.op_type, node.name) for node in block.node if node.op_type != "Constant"]
        return [(kind.replace("LoraLinear", "Linear"), name) for kind, name in seen]

    assert steps(exported.view) == steps(exported.base_view)


def test_the_norm_of_an_update_is_that_of_scaling_times_b_times_a(
    exported: ExportedModel,
    trained: TrainedModel,
) -> None:
    model = trained.load()
    layer = model.get_submodule(f"base_model.model.{QUERY}")
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    update = float((layer.scaling["default"] * b @ a).norm())
    weight = float(layer.base_layer.weight.norm())
    module = next(m for m in Placement.read(exported.placement).adapted if m.name == QUERY)
    assert update > 0
    assert module.update_norm == pytest.approx(update, rel=1e-5)
    assert module.relative_update == pytest.approx(update / weight, rel=1e-5)
    said = told(nodes(exported.view)[QUERY])
    assert float(said["update.norm"]) == pytest.approx(update, rel=1e-3)
    assert float(said["update.relative"]) == pytest.approx(update / weight, rel=1e-3)


def test_a_block_says_the_norm_of_all_updates_in_it(exported: ExportedModel) -> None:
    inside = [
        m.update_norm
        for m in Placement.read(exported.placement).modules
        if m.name.startswith("bert.encoder.layer.1.") and m.update_norm is not None
    ]
    said = told(nodes(exported.view)["bert.encoder.layer.1"])
    assert len(inside) == 2
    assert float(said["update.norm"]) == pytest.approx(math.hypot(*inside), rel=1e-3)


def test_a_new_head_has_an_update_but_nothing_to_compare_it_with(exported: ExportedModel) -> None:
    head = next(m for m in Placement.read(exported.placement).modules if m.name == "classifier")
    assert head.update_norm is not None
    assert head.relative_update is None


def bert() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
        intermediate_size=INNER, max_position_embeddings=64, num_labels=3,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def adapted_bert(**changes: object) -> tuple[PeftModel, Placement]:
    model = bert()
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    settings = {"r": 4, "target_modules": ["query"], "task_type": "SEQ_CLS"} | changes
    adapted = get_peft_model(model, LoraConfig(**settings)).eval()
    return adapted, place(adapted, before)


def test_an_update_that_only_merging_shows_is_measured_by_merging(tmp_path: Path) -> None:
    model, placement = adapted_bert(use_dora=True)
    model.save_pretrained(tmp_path / "before")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.add_(torch.randn_like(value) * 0.1)
    model.save_pretrained(tmp_path / "after")
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    found = with_updates(placement, model, tmp_path / "before", tmp_path / "after")
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    start = model.get_submodule(f"base_model.model.{QUERY}.base_layer").weight.clone()
    merged = model.merge_and_unload().get_submodule(QUERY).weight
    module = next(m for m in found.adapted if m.name == QUERY)
    assert module.update_norm == pytest.approx(float((merged - start).norm()), rel=1e-4)


def saved_with_changes(model: PeftModel, folder: Path, **changes: float) -> None:
    """Save an adapter as it is and again with something added to parameters of these names."""
    model.save_pretrained(folder / "before")
    with torch.no_grad():
        for name, value in model.named_parameters():
            for part, by in changes.items():
                if part in name and value.requires_grad:
                    value.add_(by)
    model.save_pretrained(folder / "after")


def test_an_adapter_that_did_not_move_has_an_update_of_zero(tmp_path: Path) -> None:
    model, placement = adapted_bert(init_lora_weights=False)  # B is random, not zero
    saved_with_changes(model, tmp_path)
    found = with_updates(placement, model, tmp_path / "before", tmp_path / "after")
    assert {module.update_norm for module in found.adapted} == {0.0}


def test_a_bias_that_moved_counts_as_an_update_of_its_layer(tmp_path: Path) -> None:
    model, placement = adapted_bert(bias="all")
    saved_with_changes(model, tmp_path, **{"query.base_layer.bias": 0.5})
    found = with_updates(placement, model, tmp_path / "before", tmp_path / "after")
    assert [module.update_norm for module in found.adapted] == pytest.approx(
        [math.sqrt(WIDTH * 0.5**2)] * LAYERS
    )


def test_dora_is_not_called_lora() -> None:
    model, placement = adapted_bert(use_dora=True)
    view = fold(trace(model, inputs(2, 9), AXES, opset=20), placement, title="x", facts={})
    titles = {name for domain, name, _ in view.functions if domain == "peft"}
    assert titles == {"DoraLinear", "TrainedLinear"}
    assert "norm" in (view.functions["peft", "DoraLinear", ""].doc_string or "")


def test_bias_that_is_trained_marks_its_layer_though_the_structure_is_the_same() -> None:
    model, placement = adapted_bert(bias="all")
    flat = trace(model, inputs(2, 9), AXES, opset=20)
    view = fold(flat, placement, title="x", facts={})
    graphs = (view.graph, *view.functions.values())
    marked = {node.name for graph in graphs for node in graph if node.domain == "peft"}
    assert {
        m.name for m in placement.modules if m.role == "trained" and m.type == "Linear"
    } <= marked
    assert "bert.encoder.layer.0.attention.self.key" in marked


AXES = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask")}


def inputs(rows: int, tokens: int) -> dict[str, torch.Tensor]:
    mask = torch.ones(rows, tokens, dtype=torch.long)
    mask[1:, -2:] = 0
    return {"input_ids": torch.randint(1, 50, (rows, tokens)), "attention_mask": mask}


def test_a_model_may_return_a_plain_tensor() -> None:
    class Cnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.relu = nn.ReLU()
            self.head = nn.Linear(4, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.head(self.relu(self.conv(images)).mean((2, 3)))
            return made

    flat = trace(
        Cnn().eval(), {"images": torch.randn(2, 1, 8, 8)}, {"images": {0: "batch"}}, opset=20
    )
    assert [value.name for value in flat.graph.outputs] == ["output"]
    assert operations(flat) == {"conv": 2 * 36 * 4 * 9, "head": 2 * 4 * 2}


@pytest.mark.slow
def test_an_adapter_of_many_steps_is_shown_in_parts_and_computes_the_same(tmp_path: Path) -> None:
    model = bert()
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    settings = BOFTConfig(boft_block_size=16, target_modules=["query"], task_type="SEQ_CLS")
    adapted = get_peft_model(model, settings).eval()
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "boft_R" in name:
                value.normal_(std=0.1)
    view = fold(
        trace(adapted, inputs(2, 9), AXES, opset=20), place(adapted, before), title="x", facts={}
    )
    assert max(len(list(graph)) for graph in (view.graph, *view.functions.values())) <= 60
    save(view, tmp_path / "view.onnx", weights="weights")
    session = onnxruntime.InferenceSession(tmp_path / "view.onnx")
    given = inputs(3, 12)
    (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    np.testing.assert_allclose(found, adapted(**given).logits.detach().numpy(), atol=1e-5)


@pytest.mark.slow
def test_many_blocks_are_shown_in_tens_and_compute_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=26, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=64, num_labels=3,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    adapted = get_peft_model(
        model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    ).eval()
    view = fold(
        trace(adapted, inputs(2, 9), AXES, opset=20), place(adapted, before), title="x", facts={}
    )
    gather(view)
    sections = [node for node in view.graph if "_to_" in node.op_type]
    names = [f"bert.encoder.layer.{numbers}" for numbers in ("0-9", "10-19", "20-25")]
    assert [node.name for node in sections] == names
    assert [node.metadata_props["adapters"] for node in sections] == ["10", "10", "6"]
    trained = [int(node.metadata_props["params.trainable"]) for node in sections]
    assert trained == [count * 2 * (8 + 8) for count in (10, 10, 6)]
    save(view, tmp_path / "view.onnx", weights="weights")
    onnx.checker.check_model(str(tmp_path / "view.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "view.onnx")
    given = inputs(3, 12)
    (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    np.testing.assert_allclose(found, adapted(**given).logits.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("recipe", ["inspect_llama3_8b", "inspect_llama3_70b", "inspect_gpt3"])
def test_of_a_shipped_shape_two_blocks_are_traced(
    recipe: str, composed: Compose, tmp_path: Path
) -> None:
    config = composed(f"+recipe={recipe}")
    made: dict[str, object] = {}
    for name in ("model", "data", "adapter"):
        stage = build_stage(name, config[name])
        given = {"model": None, "data": made.get("model")}.get(name, tuple(made.values()))
        (tmp_path / name).mkdir()
        made[name] = stage.run(given, tmp_path / name)  # type: ignore[attr-defined]
    adapted = made["adapter"]
    assert isinstance(adapted, AdaptedModel)
    sample = task_named(adapted.base.task).example(adapted.base)
    model = adapted.architecture()
    with shorten(model, {name: value.to("meta") for name, value in sample.items()}) as plan:
        (blocks,) = (chain.kept for chain in plan.chains)
        assert blocks == (0, 1)


def test_a_mask_of_minus_infinity_is_no_trouble() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.head(x.masked_fill(x > 0, float("-inf")))
            return made

    given, axes = {"x": torch.randn(2, 6, 8)}, {"x": {0: "batch", 1: "tokens"}}
    flat = trace(Masked().eval(), given, axes, opset=20)
    assert operations(flat) == {"head": 2 * 8 * 4}
    assert flat.graph.meta["graft.operations"].per == f"token in a text of {TOKENS}"


def test_a_transposed_convolution_costs_what_its_inputs_spread() -> None:
    class Wider(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose1d(4, 8, 2, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.up(x)
            return made

    flat = trace(Wider().eval(), {"x": torch.randn(2, 4, 10)}, {"x": {0: "batch"}}, opset=20)
    assert operations(flat) == {"up": 2 * 10 * 4 * 8 * 2}


def test_what_onnx_cannot_express_is_said_in_one_line() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.histc(x, bins=4)

    with pytest.raises(StageError, match=r"export: Odd cannot be drawn: .*histc"):
        trace(Odd().eval(), {"x": torch.randn(3, 4)}, {"x": {0: "batch"}}, opset=20)


def test_blocks_of_two_classes_in_one_list_are_gathered_in_their_order(tmp_path: Path) -> None:
    class Plus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.act = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = x + self.act(self.inner(x))
            return made

    class Other(Plus):
        pass

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Other() if n % 8 == 7 else Plus() for n in range(32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for block in self.blocks:
                x = block(x)
            return x

    torch.manual_seed(0)
    model = Mixed().eval()
    nothing = Placement(kind="none", modules=(), frozen=0, trainable=0)
    flat = trace(model, {"x": torch.randn(3, 4)}, {"x": {0: "batch"}}, opset=20)
    view = fold(flat, nothing, title="x", facts={})
    gather(view)
    assert [node.name for node in view.graph] == [
        "blocks.0-9", "blocks.10-19", "blocks.20-29", "blocks.30-31",
    ]  # fmt: skip
    save(view, tmp_path / "view.onnx", weights="weights")
    onnx.checker.check_model(str(tmp_path / "view.onnx"), full_check=True)
    given = torch.randn(5, 4)
    session = onnxruntime.InferenceSession(tmp_path / "view.onnx")
    (found,) = session.run(None, {"x": given.numpy()})
    np.testing.assert_allclose(found, model(given).detach().numpy(), rtol=1e-5, atol=1e-5)
