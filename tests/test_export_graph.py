"""The flat graph keeps every parameter, and the folded one shows where the adapter sits."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from pipeline.adapter.placement import place
from pipeline.export.graph import fold, save, trace
from pipeline.export.graph.folding.order import convex_parts
from pipeline.placement import Placement

WIDTH, LABELS, LAYERS = 32, 3, 2
AXES = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
HOME = "base_model.model."


def bert(layers: int = LAYERS) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64, num_labels=LABELS,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def with_lora(model: nn.Module, **changes: object) -> tuple[PeftModel, Placement]:
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    settings = {"r": 4, "lora_alpha": 12, "target_modules": ["query", "value"]} | changes
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", **settings)).eval()
    with torch.no_grad():
        for value in adapted.parameters():
            if value.requires_grad:
                value.normal_(std=0.3)  # lora_B starts at zero and would hide what it computes
    return adapted, place(adapted, before)


def batch(rows: int, tokens: int) -> dict[str, Tensor]:
    """Random tokens; each row but the first is padded."""
    generator = torch.Generator().manual_seed(rows * tokens)
    mask = torch.ones(rows, tokens, dtype=torch.long)
    for row in range(1, rows):
        mask[row, tokens - row :] = 0
    return {
        "input_ids": torch.randint(0, 100, (rows, tokens), generator=generator),
        "attention_mask": mask,
    }


def run(file: Path, inputs: Mapping[str, Tensor]) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})
    return np.asarray(logits)


@dataclass(frozen=True, kw_only=True)
class Exported:
    model: PeftModel
    placement: Placement
    flat: ir.Model
    view: ir.Model
    flat_file: Path
    view_file: Path
    size_after_flat: int

    @property
    def weights(self) -> Path:
        return self.flat_file.parent / "adapted.onnx.data"

    def nodes(self, domain: str) -> dict[str, ir.Node]:
        """All calls of a domain, those inside of blocks too, by name."""
        graphs = [self.view.graph, *(f.graph for f in self.view.functions.values())]
        found = [node for graph in graphs for node in graph if node.domain == domain]
        return {node.name or "": node for node in found}


def export(model: nn.Module, placement: Placement, folder: Path) -> Exported:
    flat_file, view_file = folder / "adapted.onnx", folder / "adapted.view.onnx"
    flat = trace(model, batch(2, 8), AXES, opset=20)
    save(flat, flat_file, weights="adapted.onnx.data")
    size = (folder / "adapted.onnx.data").stat().st_size
    facts = {"base_model": "tiny", "peft.lora_dropout": "0.1"}
    view = fold(flat, placement, title="Tiny BERT", facts=facts)
    save(view, view_file, weights="adapted.onnx.data")
    return Exported(
        model=model, placement=placement, flat=flat, view=view,
        flat_file=flat_file, view_file=view_file, size_after_flat=size,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(*with_lora(bert()), tmp_path_factory.mktemp("graph"))


def test_every_parameter_keeps_its_torch_name_and_values(exported: Exported) -> None:
    held = {
        name: value.const_value.numpy()
        for name, value in exported.flat.graph.initializers.items()
        if value.const_value is not None
    }
    used = {
        name: value
        for name, value in exported.model.named_parameters()
        if ".original_module." not in name  # PEFT keeps it, and never calls it
    }
    assert used.keys() <= held.keys()
    for name, value in used.items():
        np.testing.assert_array_equal(held[name], value.detach().numpy(), err_msg=name)


def test_every_lora_matrix_survives_folding(exported: Exported) -> None:
    expected = {name for name, _ in exported.model.named_parameters() if "lora_" in name}
    assert len(expected) == LAYERS * 2 * 2
    assert expected <= set(exported.view.graph.initializers)


def test_the_adapter_nodes_are_the_layers_that_peft_made(exported: Exported) -> None:
    layers = {
        name.removeprefix(HOME)
        for name, module in exported.model.named_modules()
        if type(module).__module__.startswith("peft.tuners.lora.layer")
    }
    calls = {n for n, node in exported.nodes("peft").items() if node.op_type == "LoraLinear"}
    assert calls == layers
    assert sum(name == "LoraLinear" for _, name, _ in exported.view.functions) == 1


def test_an_adapter_tells_rank_alpha_scaling_and_what_trains(exported: Exported) -> None:
    node = exported.nodes("peft")["bert.encoder.layer.1.attention.self.value"]
    told = {name: attribute.value for name, attribute in node.attributes.items()}
    assert told == {"r": 4, "lora_alpha": 12.0, "scaling": 12 / 4}
    assert node.metadata_props == {
        "params.trainable": str(4 * (WIDTH + WIDTH)),
        "params.frozen": str(WIDTH * WIDTH + WIDTH),
        "pytorch.class": "peft.tuners.lora.layer.Linear",
        "peft.type": "LORA",
        "peft.adapter": "default",
        "peft.why": "target_modules: value",
        "lora_dropout": "0",
    }


def test_the_inputs_of_an_adapter_have_short_names(exported: Exported) -> None:
    function = exported.view.functions["peft", "LoraLinear", ""]
    names = [value.name for value in function.inputs]
    assert names == ["x", "weight", "bias", "lora_A", "lora_B"]
    assert "scaling" in (function.doc_string or "")


def test_scaling_is_live(exported: Exported, tmp_path: Path) -> None:
    without = onnx.load(exported.view_file)
    for function in without.functions:
        for node in function.node:
            for attribute in node.attribute:
                if node.op_type == "LoraLinear" and attribute.name == "scaling":
                    attribute.f = 0.0
    onnx.save(without, tmp_path / "off.onnx")
    inputs = batch(2, 8)
    with torch.no_grad(), exported.model.disable_adapter():
        classifier = exported.model.base_model.model.classifier
        hidden = exported.model.base_model.model.bert(**inputs).pooler_output
        expected = classifier.modules_to_save["default"](hidden).numpy()
    np.testing.assert_allclose(run(tmp_path / "off.onnx", inputs), expected, atol=1e-5)


@pytest.mark.slow
def test_adapters_of_other_ranks_share_the_function(tmp_path: Path) -> None:
    pattern = {"layer.1.attention.self.query": 2}
    made = export(*with_lora(bert(), rank_pattern=pattern), tmp_path)
    scaling = {
        name: node.attributes["scaling"].as_float()
        for name, node in made.nodes("peft").items()
        if node.op_type == "LoraLinear"
    }
    assert Counter(scaling.values()) == {12 / 4: 3, 12 / 2: 1}
    assert scaling["bert.encoder.layer.1.attention.self.query"] == 12 / 2
    assert np.abs(run(made.view_file, batch(3, 5)) - run(made.flat_file, batch(3, 5))).max() < 1e-5


def test_a_head_that_is_trained_in_full_looks_different(exported: Exported) -> None:
    node = exported.nodes("peft")["classifier"]
    assert node.op_type == "TrainedLinear"
    assert node.metadata_props["params.trainable"] == str(LABELS * WIDTH + LABELS)


def test_each_layer_is_one_node_with_its_weights_inside(exported: Exported) -> None:
    for layer in range(LAYERS):
        (node,) = (n for n in exported.view.graph if n.op_type == f"BertLayer_{layer}")
        assert node.name == f"bert.encoder.layer.{layer}"
        formal = [value.name for value in exported.view.functions[node.op_identifier()].inputs]
        assert formal[:2] == ["hidden_states", "attention_mask"]
        # Netron draws a weight inside if the formal input is named like the initializer.
        assert formal[2:] == [value.name for value in node.inputs if value][2:]
        assert set(formal[2:]) == {
            name
            for name, _ in exported.model.named_parameters()
            if name.startswith(f"{HOME}{node.name}.")
        }


def test_a_layer_counts_its_parameters_and_names_its_adapters(exported: Exported) -> None:
    (node,) = (node for node in exported.view.graph if node.op_type == "BertLayer_0")
    own = exported.model.base_model.model.bert.encoder.layer[0].parameters()
    counts = Counter({True: 0, False: 0})
    for value in own:
        counts[value.requires_grad] += value.numel()
    assert node.metadata_props["params.trainable"] == str(counts[True])
    assert node.metadata_props["params.frozen"] == str(counts[False])
    assert node.metadata_props["peft.adapters"] == "attention.self.query, attention.self.value"


def test_the_model_tells_its_totals_and_the_facts(exported: Exported) -> None:
    file = onnx.load(exported.view_file, load_external_data=False)
    told = {entry.key: entry.value for entry in file.metadata_props}
    trainable = sum(v.numel() for v in exported.model.parameters() if v.requires_grad)
    assert told["params.trainable"] == str(trainable)
    assert told["params.frozen"] == str(exported.placement.frozen)
    assert (told["adapters"], told["peft.type"], told["base_model"]) == ("4", "LORA", "tiny")
    assert (file.graph.name, file.producer_name) == ("Tiny BERT", "graft-pipeline")


def test_attention_is_one_node_with_named_inputs(exported: Exported) -> None:
    calls = [node for node in exported.nodes("nn").values() if node.op_type == "SDPA"]
    assert len(calls) == LAYERS
    formal = {value.name for value in exported.view.functions["nn", "SDPA", ""].inputs}
    assert formal == {"query", "key", "value", "attn_mask"}


def test_the_flat_graph_is_flat_and_still_usable_after_folding(exported: Exported) -> None:
    assert not exported.flat.functions
    assert {node.domain for node in exported.flat.graph} == {""}
    again = fold(exported.flat, exported.placement, title="Tiny BERT", facts={})
    assert len(again.graph) == len(exported.view.graph)


def test_the_flat_graph_keeps_the_transposes_of_the_weights(exported: Exported) -> None:
    read = {
        value.name
        for node in exported.flat.graph
        if node.op_type == "Transpose"
        for value in node.inputs
        if value is not None
    }
    assert {name for name, _ in exported.model.named_parameters() if "lora_" in name} <= read


@pytest.mark.parametrize("rows_and_tokens", [(1, 5), (3, 11), (2, 64)])
def test_torch_flat_and_folded_agree(exported: Exported, rows_and_tokens: tuple[int, int]) -> None:
    inputs = batch(*rows_and_tokens)
    with torch.no_grad():
        expected = exported.model(**inputs).logits.numpy()
    flat, view = run(exported.flat_file, inputs), run(exported.view_file, inputs)
    np.testing.assert_allclose(flat, expected, atol=1e-5)
    np.testing.assert_allclose(view, flat, atol=1e-6)


def test_both_files_have_the_same_inputs_and_outputs(exported: Exported) -> None:
    flat, view = (
        onnx.load(file, load_external_data=False).graph
        for file in (exported.flat_file, exported.view_file)
    )
    assert list(flat.input) == list(view.input)
    assert list(flat.output) == list(view.output)
    assert [value.name for value in flat.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in flat.output] == ["logits"]
    axes = [axis.dim_param for axis in flat.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", "sequence"]


def test_both_files_pass_the_checker(exported: Exported) -> None:
    for file in (exported.flat_file, exported.view_file):
        onnx.checker.check_model(str(file), full_check=True)


def test_both_files_share_one_file_of_weights(exported: Exported) -> None:
    assert exported.weights.stat().st_size == exported.size_after_flat
    places: list[dict[str, dict[str, str]]] = [
        {
            tensor.name: {entry.key: entry.value for entry in tensor.external_data}
            for tensor in onnx.load(file, load_external_data=False).graph.initializer
            if tensor.external_data
        }
        for file in (exported.flat_file, exported.view_file)
    ]
    assert places[0] == places[1]
    assert {place["location"] for place in places[0].values()} == {"adapted.onnx.data"}
    large = sum(v.nbytes for v in exported.model.parameters() if v.nbytes >= 1024)
    assert large <= exported.size_after_flat
    assert exported.view_file.stat().st_size < 100_000


@pytest.mark.slow
def test_saving_another_model_starts_the_file_of_weights_anew(tmp_path: Path) -> None:
    sizes = []
    for _ in range(2):
        flat = trace(bert(1), batch(2, 8), AXES, opset=20)
        save(flat, tmp_path / "model.onnx", weights="model.onnx.data")
        sizes.append((tmp_path / "model.onnx.data").stat().st_size)
    assert sizes[0] == sizes[1]
    assert run(tmp_path / "model.onnx", batch(2, 8)).shape == (2, LABELS)


def test_no_file_tells_about_this_machine(exported: Exported) -> None:
    for file in (exported.flat_file, exported.view_file):
        content = file.read_bytes()
        for secret in (b"pkg.torch", b"site-packages", b".py", str(file.parent).encode()):
            assert secret not in content


def test_the_names_inside_a_shared_function_are_of_no_single_layer(exported: Exported) -> None:
    for (_, title, _), function in exported.view.functions.items():
        if title in {"LoraLinear", "Linear", "SDPA"}:
            assert not any("bert" in (node.name or "") for node in function)


@pytest.mark.slow
def test_six_layers_fit_on_one_screen(tmp_path: Path) -> None:
    assert len(export(*with_lora(bert(6)), tmp_path).view.graph) < 16


@pytest.mark.slow
def test_twelve_layers_fit_on_one_screen(tmp_path: Path) -> None:
    made = export(*with_lora(bert(12)), tmp_path)
    assert len(made.view.graph) <= 25
    assert sum(node.op_type == "LoraLinear" for node in made.nodes("peft").values()) == 12 * 2


@pytest.mark.slow
def test_a_merged_model_shows_what_was_trained(tmp_path: Path) -> None:
    adapted, placement = with_lora(bert())
    with torch.no_grad():
        expected = adapted(**batch(3, 7)).logits.numpy()
    plain = adapted.merge_and_unload().eval()
    made = export(plain, placement, tmp_path)
    assert set(dict(plain.named_parameters())) <= set(made.flat.graph.initializers)
    assert Counter(node.op_type for node in made.nodes("peft").values()) == {
        "MergedLinear": LAYERS * 2, "TrainedLinear": 1
    }  # fmt: skip
    assert {"bert.encoder.layer.0", "bert.encoder.layer.1"} <= set(made.nodes("nn"))
    np.testing.assert_allclose(run(made.view_file, batch(3, 7)), expected, atol=1e-4)


@pytest.mark.slow
def test_eager_attention_and_a_newer_opset_fold_too(tmp_path: Path) -> None:
    model = bert()
    model.set_attn_implementation("eager")
    adapted, placement = with_lora(model, use_dora=True)
    flat = trace(adapted, batch(2, 8), AXES, opset=23)
    view = fold(flat, placement, title="eager", facts={})
    save(view, tmp_path / "view.onnx", weights="view.onnx.data")
    with torch.no_grad():
        expected = adapted(**batch(3, 9)).logits.numpy()
    np.testing.assert_allclose(run(tmp_path / "view.onnx", batch(3, 9)), expected, atol=1e-5)


def test_a_model_in_train_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="eval mode"):
        trace(bert(1).train(), batch(2, 8), AXES, opset=20)


def test_an_example_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="length 1 in the example of input_ids, attention_mask"):
        trace(bert(1), batch(1, 8), AXES, opset=20)


def test_tracing_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    trace(bert(1), batch(2, 8), AXES, opset=20)
    assert capfd.readouterr() == ("", "")


Chain = Callable[..., list[ir.Node]]


def chain(*reads: tuple[int, ...]) -> list[ir.Node]:
    """Nodes that each add up what the nodes of these numbers make."""
    start = ir.Value(name="start")
    nodes: list[ir.Node] = []
    for read in reads:
        inputs = [nodes[number].outputs[0] for number in read] or [start]
        nodes.append(ir.Node("", "Sum", inputs))
    return nodes


def test_a_group_that_a_path_leaves_and_enters_again_is_split() -> None:
    first, outside, second, other = nodes = chain((), (0,), (1,), (0,))
    assert convex_parts(nodes, [first, second, other]) == [[first, other], [second]]
    assert convex_parts(nodes, [first, second], lambda node: node is outside) == [
        [first, outside, second]
    ]


@pytest.mark.parametrize("seed", range(40))
def test_parts_of_a_group_never_close_a_cycle(seed: int) -> None:
    random = np.random.default_rng(seed)
    reads = [tuple(n for n in range(k) if random.random() < 0.25) for k in range(14)]
    nodes = chain(*reads)
    group = [node for node in nodes if random.random() < 0.5]
    parts = convex_parts(nodes, group) if group else []
    assert sorted(map(id, (node for part in parts for node in part))) == sorted(map(id, group))
    # Every part as one vertex, every other node as its own: the order must stay a partial one.
    vertex = {node: index for index, node in enumerate(nodes)}
    for number, part in enumerate(parts):
        vertex |= dict.fromkeys(part, len(nodes) + number)
    edges = {
        (vertex[nodes[read]], vertex[node])
        for node, place in zip(nodes, reads, strict=True)
        for read in place
        if vertex[nodes[read]] != vertex[node]
    }
    while True:
        reached = edges | {(a, d) for (a, b), (c, d) in product(edges, edges) if b == c}
        if reached == edges:
            break
        edges = reached
    assert not any(start == end for start, end in edges)


def test_a_block_that_is_not_convex_still_computes_the_same(tmp_path: Path) -> None:
    """Each block hands a value to a layer outside and takes the answer back."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Linear(WIDTH, WIDTH)

        def forward(self, hidden: Tensor, outside: nn.Module) -> Tensor:
            answer: Tensor = self.inside(hidden) + outside(self.inside(hidden))
            return answer

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(WIDTH, WIDTH)
            self.blocks = nn.ModuleList([Block(), Block()])

        def forward(self, hidden: Tensor) -> "Answer":
            for block in self.blocks:
                hidden = block(hidden, lambda value: self.shared(value))
            return Answer(hidden)

    torch.manual_seed(0)
    model = Model().eval()
    example = {"hidden": torch.randn(2, WIDTH)}
    flat = trace(model, example, {"hidden": {0: "batch"}}, opset=20)
    mine = Placement(kind="LORA", modules=(), frozen=0, trainable=0)
    view = fold(flat, mine, title="not convex", facts={})
    save(view, tmp_path / "view.onnx", weights="view.onnx.data")
    onnx.checker.check_model(str(tmp_path / "view.onnx"), full_check=True)
    other = {"hidden": torch.randn(3, WIDTH)}
    with torch.no_grad():
        expected = model(**other).logits.numpy()
    np.testing.assert_allclose(run(tmp_path / "view.onnx", other), expected, atol=1e-5)
    titles = [node.op_type for node in view.graph]
    assert "Block_0" in titles
    assert "Block_1" in titles


@dataclass
class Answer:
    logits: Tensor
