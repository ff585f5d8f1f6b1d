"""A model traced without most of its blocks gives the graph that the whole model gives."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, PrefixTuningConfig, get_peft_model
from torch import Tensor, nn

from pipeline.adapter.placement import place
from pipeline.export.graph import fold, save, trace
from pipeline.export.graph.repeating.expand import Irregular, lengthen
from pipeline.export.graph.repeating.plan import Plan
from pipeline.export.graph.repeating.repeat import shorten
from pipeline.placement import Placement

WORDS, WIDTH, HEADS, INNER = 97, 32, 4, 48
TEXT = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
ENCODER = {"num_attention_heads": HEADS, "hidden_size": WIDTH, "intermediate_size": INNER}
DECODER = ENCODER | {"num_key_value_heads": 2, "use_cache": False, "head_dim": 8}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model of five to seven blocks, and the numbers of those that should be traced."""

    model: str
    """Class of transformers."""
    settings: Mapping[str, object]
    targets: tuple[str, ...]
    kept: Mapping[str, tuple[int, ...]]
    """By the end of the list's path."""
    lora: Mapping[str, object] = field(default_factory=dict)

    def build(self) -> nn.Module:
        made = getattr(transformers, self.model)
        torch.manual_seed(0)
        model: nn.Module = made(made.config_class(vocab_size=WORDS, **self.settings)).eval()
        return model

    def adapt(self, model: nn.Module) -> PeftModel:
        settings = {"r": 4, "lora_alpha": 12, "target_modules": list(self.targets)}
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(**(settings | dict(self.lora)))).eval()
        with torch.no_grad():
            for value in adapted.parameters():
                if value.requires_grad and not value.is_meta:
                    value.normal_(std=0.3)
        return adapted

    def inputs(self, rows: int = 2, tokens: int = 8) -> dict[str, Tensor]:
        if self.model.startswith("ViT"):
            return {"pixel_values": torch.randn(rows, 3, 16, 16)}
        generator = torch.Generator().manual_seed(rows * tokens)
        words = torch.randint(3, WORDS, (rows, tokens), generator=generator)
        mask = torch.ones(rows, tokens, dtype=torch.long)
        mask[1:, tokens - 2 :] = 0
        given = {"input_ids": words, "attention_mask": mask}
        return given | ({"decoder_input_ids": words[:, :5]} if "T5" in self.model else {})

    @property
    def axes(self) -> dict[str, dict[int, str]]:
        if self.model.startswith("ViT"):
            return {"pixel_values": {0: "batch"}}
        return TEXT | ({"decoder_input_ids": {0: "batch"}} if "T5" in self.model else {})


LLAMA = Case(
    model="LlamaForCausalLM",
    settings=DECODER | {"num_hidden_layers": 6},
    targets=("q_proj", "v_proj", "down_proj"),
    kept={"layers": (0, 1)},
)
BERT = Case(
    model="BertForSequenceClassification",
    settings=ENCODER | {"num_hidden_layers": 5, "max_position_embeddings": 64},
    targets=("query", "value"),
    kept={"encoder.layer": (0, 1)},
)
CASES = {
    "llama": LLAMA,
    "llama, some blocks": Case(
        model="LlamaForCausalLM",
        settings=DECODER | {"num_hidden_layers": 7},
        targets=("q_proj", "v_proj"),
        lora={"layers_to_transform": [2, 3, 6], "layers_pattern": "layers"},
        kept={"layers": (0, 1, 2, 3)},
    ),
    "llama, ranks": Case(
        model="LlamaForCausalLM",
        settings=DECODER | {"num_hidden_layers": 7},
        targets=("q_proj", "v_proj"),
        lora={"rank_pattern": {r"layers\.4\.self_attn\.q_proj": 2}, "bias": "none"},
        kept={"layers": (0, 1, 4)},
    ),
    "gemma3": Case(
        model="Gemma3ForCausalLM",
        settings=DECODER
        | {
            "num_hidden_layers": 7,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2
            + ["sliding_attention"],
        },
        targets=("q_proj", "v_proj"),
        kept={"layers": (0, 1, 2, 5)},
    ),
    "qwen3": Case(
        model="Qwen3ForCausalLM",
        settings=DECODER | {"num_hidden_layers": 5},
        targets=("q_proj", "v_proj"),
        kept={"layers": (0, 1)},
    ),
    "gpt2": Case(
        model="GPT2LMHeadModel",
        settings={
            "n_layer": 5, "n_embd": WIDTH, "n_head": HEADS, "n_positions": 64, "use_cache": False,
        },
        targets=("c_attn",),
        lora={"fan_in_fan_out": True},
        kept={"h": (0, 1)},
    ),
    "opt": Case(
        model="OPTForCausalLM",
        settings={
            "num_hidden_layers": 5, "hidden_size": WIDTH, "num_attention_heads": HEADS,
            "ffn_dim": INNER, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 64,
            "use_cache": False,
        },
        targets=("q_proj", "v_proj"),
        kept={"layers": (0, 1)},
    ),
    "bert": BERT,
    "roberta": Case(
        model="RobertaForSequenceClassification",
        settings=ENCODER | {"num_hidden_layers": 5, "max_position_embeddings": 64},
        targets=("query", "value"),
        kept={"encoder.layer": (0, 1)},
    ),
    "distilbert": Case(
        model="DistilBertForSequenceClassification",
        settings={
            "n_layers": 5, "dim": WIDTH, "n_heads": HEADS, "hidden_dim": INNER,
            "max_position_embeddings": 64,
        },
        targets=("q_lin", "v_lin"),
        kept={"transformer.layer": (0, 1)},
    ),
    "t5": Case(
        model="T5ForConditionalGeneration",
        settings={
            "num_layers": 6, "num_decoder_layers": 5, "d_model": WIDTH, "d_kv": 8, "d_ff": INNER,
            "num_heads": HEADS, "use_cache": False, "decoder_start_token_id": 0,
        },
        targets=("q", "v"),
        kept={"encoder.block": (0, 1, 2), "decoder.block": (0, 1, 2)},
    ),
    "vit": Case(
        model="ViTForImageClassification",
        settings=ENCODER | {"num_hidden_layers": 5, "image_size": 16, "patch_size": 8},
        targets=("query", "value", "q_proj", "v_proj"),
        kept={"vit.layers": (0, 1)},
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Both:
    case: Case
    model: PeftModel
    whole: ir.Model
    short: ir.Model
    plan: Plan


def placed(case: Case, model: nn.Module) -> tuple[PeftModel, Placement]:
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    adapted = case.adapt(model)
    return adapted, place(adapted, before)


def draw_short(
    case: Case, model: nn.Module, placement: Placement, inputs: Mapping[str, Tensor]
) -> tuple[ir.Model, Plan]:
    with shorten(model, inputs) as plan:
        flat = trace(model, inputs, case.axes, opset=20)
    plan.rename(flat)
    view = fold(flat, placement, title="both", facts={})
    lengthen(view, plan)
    return view, plan


# One family on every run; the others take some seconds each.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "bert" else pytest.mark.slow) for name in CASES],
)
def both(request: pytest.FixtureRequest) -> Both:
    case = CASES[request.param]
    model, placement = placed(case, case.build())
    flat = trace(model, case.inputs(), case.axes, opset=20)
    whole = fold(flat, placement, title="both", facts={})
    short, plan = draw_short(case, model, placement, case.inputs())
    return Both(case=case, model=model, whole=whole, short=short, plan=plan)


def test_two_blocks_of_each_kind_are_traced(both: Both) -> None:
    kept = {chain.path: chain.kept for chain in both.plan.chains}
    for end, numbers in both.case.kept.items():
        (path,) = (path for path in kept if path.endswith(f".{end}"))
        assert kept.pop(path) == numbers
    assert not kept


def test_every_weight_is_the_one_of_the_whole_model(both: Both) -> None:
    names = [name for name, _ in both.model.named_parameters()]
    whole, short = (
        {name: value for name, value in model.graph.initializers.items() if "." in name}
        for model in (both.whole, both.short)
    )
    assert list(short) == list(whole)
    assert len(set(short) & set(names)) > len(names) / 2
    for name, value in short.items():
        assert value.shape == whole[name].shape
        one, other = value.const_value, whole[name].const_value
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=name)


def test_the_nodes_are_those_of_the_whole_model(both: Both) -> None:
    assert [told(node) for node in both.short.graph] == [told(node) for node in both.whole.graph]


def test_the_functions_are_those_of_the_whole_model(both: Both) -> None:
    whole, short = both.whole.functions, both.short.functions
    assert list(short) == list(whole)
    for name in whole:
        assert written(short[name]) == written(whole[name]), name


def test_the_answers_are_those_of_the_whole_model_to_the_last_bit(
    both: Both, tmp_path: Path
) -> None:
    inputs = both.case.inputs(3, 11)
    answers = []
    for name in ("whole", "short"):
        file = tmp_path / f"{name}.onnx"
        save(getattr(both, name), file, weights=f"{name}.data")
        onnx.checker.check_model(str(file), full_check=True)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        given = {name: value.numpy() for name, value in inputs.items()}
        answers.append(np.asarray(session.run(None, given)[0]))
    assert np.abs(answers[0] - answers[1]).max() == 0.0
    with torch.no_grad():
        expected = both.model(**inputs).logits.numpy()
    np.testing.assert_allclose(answers[1], expected, atol=1e-4)


def told(node: ir.Node) -> tuple[object, ...]:
    """Everything that a reader of the picture sees of a node."""
    attributes = {
        name: attribute.value.numpy().tolist()
        if attribute.type == ir.AttributeType.TENSOR
        else str(attribute.value)
        for name, attribute in node.attributes.items()
    }
    return (
        node.op_identifier(),
        # The exporter counts these calls over the whole model.
        re.sub(r"_attention(_\d+)?$", "_attention", node.name or ""),
        dict(node.metadata_props),
        attributes,
        [value.name for value in node.inputs if value and value.name and "." in value.name],
        [(str(value.shape), value.dtype) for value in node.outputs],
    )


def written(function: ir.Function) -> list[object]:
    """A function with its values numbered in place of their names."""
    values: dict[ir.Value | None, int] = {None: -1}
    for value in function.inputs:
        values[value] = len(values)
    nodes = []
    for node in function:
        read = [values[value] for value in node.inputs]
        for value in node.outputs:
            values[value] = len(values)
        nodes.append((told(node), read, [values[value] for value in node.outputs]))
    formal = [(value.name, str(value.shape), value.dtype) for value in function.inputs]
    made = [(values[value], value.name) for value in function.outputs]
    return [function.doc_string, function.opset_imports, formal, made, nodes]


def state(model: nn.Module) -> list[object]:
    """What a model is, down to the identity of its tensors and the order of its settings."""
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    return [
        [(name, id(module), list(vars(module))) for name, module in model.named_modules()],
        [(name, id(value)) for name, value in model.named_parameters(remove_duplicate=False)],
        [(name, id(value)) for name, value in model.named_buffers(remove_duplicate=False)],
        [deepcopy(list(vars(config).items())) for config in configs.values()],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma3", "t5", "gpt2", "bert"])
def test_the_model_is_as_before_also_after_an_error(name: str) -> None:
    case = CASES[name]
    model = case.adapt(case.build())
    before = state(model)
    with shorten(model, case.inputs()) as plan:
        assert plan.chains
        assert state(model) != before
    assert state(model) == before
    with pytest.raises(ZeroDivisionError), shorten(model, case.inputs()):
        raise ZeroDivisionError
    assert state(model) == before


@pytest.mark.slow
def test_without_values_the_graph_is_the_same_and_passes_the_checker(tmp_path: Path) -> None:
    with torch.device("meta"):
        model, placement = placed(LLAMA, LLAMA.build())
    inputs = {name: value.to("meta") for name, value in LLAMA.inputs().items()}
    flat = trace(model, inputs, LLAMA.axes, opset=20)
    whole = fold(flat, placement, title="both", facts={})
    short, _ = draw_short(LLAMA, model, placement, inputs)
    assert list(map(told, short.graph)) == list(map(told, whole.graph))
    assert {name: written(each) for name, each in short.functions.items()} == {
        name: written(each) for name, each in whole.functions.items()
    }
    for name, view in {"whole": whole, "short": short}.items():
        save(view, tmp_path / f"{name}.onnx", weights=None)
    size = sum(4 * value.numel() for value in model.parameters())
    with (tmp_path / "left-out").open("wb") as stand_in:
        stand_in.truncate(2 * size)  # no byte of it is written
    onnx.checker.check_model(str(tmp_path / "short.onnx"), full_check=True)
    placed_at = [
        {
            tensor.name: [entry.value for entry in tensor.external_data]
            for tensor in onnx.load(tmp_path / name, load_external_data=False).graph.initializer
        }
        for name in ("whole.onnx", "short.onnx")
    ]
    left_out = [{n: at for n, at in each.items() if at} for each in placed_at]
    assert left_out[0] == left_out[1]
    assert len(left_out[0]) > 6 * 9


@pytest.mark.slow
def test_each_block_tells_its_own_numbers() -> None:
    model, placement = placed(BERT, BERT.build())
    norms = {module.name: number / 7 for number, module in enumerate(placement.adapted, start=1)}
    placement = replace(
        placement,
        modules=tuple(
            replace(module, update_norm=norms.get(module.name), relative_update=None)
            for module in placement.modules
        ),
    )
    whole = fold(
        trace(model, BERT.inputs(), BERT.axes, opset=20), placement, title="both", facts={}
    )
    short, _ = draw_short(BERT, model, placement, BERT.inputs())
    assert list(map(told, short.graph)) == list(map(told, whole.graph))
    told_in = Counter(
        node.metadata_props["update.norm"]
        for function in short.functions.values()
        for node in function
        if "update.norm" in node.metadata_props
    )
    assert len(told_in) == len(norms)
    for name, function in short.functions.items():
        assert written(function) == written(whole.functions[name])


@pytest.mark.slow
def test_what_a_module_costs_is_known_of_every_block() -> None:
    model, _ = placed(LLAMA, LLAMA.build())
    whole = trace(model, LLAMA.inputs(), LLAMA.axes, opset=20)
    with shorten(model, LLAMA.inputs()) as plan:
        short = trace(model, LLAMA.inputs(), LLAMA.axes, opset=20)
    plan.rename(short)
    assert short.graph.meta["graft.operations"] == whole.graph.meta["graft.operations"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ResNetForImageClassification", {"depths": [2, 2, 2, 2], "hidden_sizes": [8, 8, 16, 16]}),
        ("BertForSequenceClassification", {**ENCODER, "num_hidden_layers": 2}),
        ("AlbertForSequenceClassification", {**ENCODER, "num_hidden_layers": 4}),
    ],
)
def test_a_model_without_enough_equal_blocks_is_left_alone(
    name: str, settings: dict[str, object]
) -> None:
    made = getattr(transformers, name)
    model = made(made.config_class(**settings)).eval()
    before = state(model)
    inputs = {"pixel_values": torch.randn(2, 3, 32, 32)} if "Image" in name else BERT.inputs()
    with shorten(model, inputs) as plan:
        assert plan.chains == ()
        assert state(model) == before


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.special = False
        self.inside = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Tensor, scale: Tensor) -> Tensor:
        answer: Tensor = hidden + scale * self.inside(hidden)
        return answer


class Chained(nn.Module):
    """Six equal blocks, and a way to run them."""

    def __init__(self, run: Callable[[list[nn.Module], Tensor], Tensor]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(6))
        self.run = run

    def forward(self, hidden: Tensor) -> Tensor:
        return self.run(list(self.blocks), hidden)


def in_turn(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    scale = hidden.mean()
    for block in blocks:
        hidden = block(hidden, scale)
    return hidden


def some_otherwise(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    often, seldom = hidden.mean(), hidden.sum()
    for number, block in enumerate(blocks):
        hidden = block(hidden, seldom if number in {4, 5} else often)
    return hidden


def some_otherwise_by_name(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    often, seldom = hidden.mean(), hidden.sum()
    for block in blocks:
        hidden = block(hidden, seldom if vars(block)["special"] else often)
    return hidden


def with_a_tap(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    scale = hidden.mean()
    made = []
    for block in blocks:
        hidden = block(hidden, scale)
        made.append(hidden)
    return hidden + 2 * made[3]


def the_last_otherwise(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    scale, other = hidden.mean(), hidden.sum()
    for block in blocks[:-1]:
        hidden = block(hidden, scale)
    last: Tensor = blocks[-1](hidden, other)
    return last


def with_a_step_between(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    scale = hidden.mean()
    for block in blocks:
        hidden = torch.tanh(block(hidden, scale))
    return hidden


def twice(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    return in_turn(blocks, in_turn(blocks, hidden))


def skipping(blocks: list[nn.Module], hidden: Tensor) -> Tensor:
    """As a U-Net does: the later half reads what the first half made, in reverse."""
    made = [hidden]
    for block in blocks[:3]:
        made.append(block(made[-1], made[0].mean()))
    hidden = made[-1]
    for block, before in zip(blocks[3:], reversed(made[:-1]), strict=True):
        hidden = block(hidden, before)
    return hidden


@pytest.mark.parametrize(
    ("run", "kept"),
    [
        (in_turn, [(0, 1)]),
        (some_otherwise, []),  # cut to four blocks, none would have the number 4
        (some_otherwise_by_name, [(0, 1, 4, 5)]),
        (the_last_otherwise, [(0, 1, 5)]),
        (with_a_tap, []),
        (with_a_step_between, []),
        (twice, []),
        (skipping, None),
    ],
)
def test_a_graph_is_right_however_the_blocks_are_used(
    run: Callable[[list[nn.Module], Tensor], Tensor],
    kept: list[tuple[int, ...]] | None,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model = Chained(run).eval()
    for block in list(model.blocks)[4:]:
        vars(block)["special"] = run is some_otherwise_by_name
    example = {"hidden": torch.randn(2, WIDTH)}
    nothing = Placement(kind="LORA", modules=(), frozen=0, trainable=0)
    with shorten(model, example) as plan:
        flat = trace(model, example, {"hidden": {0: "batch"}}, opset=20)
    if kept is not None:
        assert [chain.kept for chain in plan.chains] == kept
    plan.rename(flat)
    view = fold(flat, nothing, title="chained", facts={})
    lengthen(view, plan)
    save(view, tmp_path / "view.onnx", weights="view.onnx.data")
    onnx.checker.check_model(str(tmp_path / "view.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "view.onnx")
    other = torch.randn(3, WIDTH)
    (answer,) = session.run(None, {"hidden": other.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(answer, model(other).numpy(), rtol=1e-5, atol=1e-5)


def test_tied_blocks_keep_their_weight_in_common() -> None:
    model = Chained(in_turn).eval()
    first, *_, last, other = (block for block in model.blocks if isinstance(block, Block))
    last.inside.weight = other.inside.weight = first.inside.weight
    with shorten(model, {"hidden": torch.randn(2, WIDTH)}) as plan:
        (chain,) = plan.chains
    assert chain.kept == (0, 1, 2, 4)
    assert "blocks.0.inside.weight" not in chain.own
    assert "blocks.0.inside.bias" in chain.own


@pytest.mark.slow
def test_blocks_that_read_a_prefix_each_are_refused() -> None:
    """A prefix of PEFT reaches each block as a slice of one tensor, by the number of the block."""
    case = CASES["gpt2"]
    model = case.build()
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    prefix = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = get_peft_model(model, prefix).eval()
    placement = place(adapted, before)
    with pytest.raises(Irregular):
        draw_short(case, adapted, placement, case.inputs())
