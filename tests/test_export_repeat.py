"""A model traced without most of its blocks gives the graph that the whole model gives."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from pipeline.export.graph.expand import Irregular, lengthen
from pipeline.export.graph.repeat import Plan, shorten
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
        settings = {"r": 4, "lora_alpha": 12, "target_modules": list(self.targets)} | self.lora
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(**settings)).eval()  # type: ignore[arg-type]
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
    with shorten(model) as plan:
        flat = trace(model, inputs, case.axes, opset=20)
    plan.rename(flat)
    view = fold(flat, placement, title="both", facts={})
    lengthen(view, plan)
    return view, plan


@pytest.fixture(scope="module", params=CASES)
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
        assert value.const_value is not None
        np.testing.assert_array_equal(
            value.const_value.numpy(), whole[name].const_value.numpy(), err_msg=name
        )


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
        name: attribute.value.numpy().tolist() if hasattr(attribute.value, "numpy") else attribute.value
        for name, attribute in node.attributes.items()
    }
    return (
        *node.op_identifier(), re.sub(r"_attention(_\d+)?$", "_attention", node.name or ""), dict(node.metadata_props), str(attributes),
        [value.name for value in node.inputs if value and value.name and "." in value.name],
        [(str(value.shape), value.dtype) for value in node.outputs],
    )  # fmt: skip


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
