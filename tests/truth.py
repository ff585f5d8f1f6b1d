"""Whether a picture is true: what is drawn is what is in the model, and it computes the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from kinds import KINDS, Adapted
from peft.tuners.adaption_prompt.layer import AdaptedAttention, AdaptedAttentionGPT
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from zoo import FAMILIES

from pipeline.adapter.placement import place
from pipeline.export.graph import fold, save, trace
from pipeline.export.picture import operations, with_operations
from pipeline.placement import Placement

WEIGHTS = "weights.data"
MOST_NODES = 60
PROMPT = "prompt_encoder.default"
TOLERANCE = 1e-5
"""Largest difference between ONNX Runtime and torch, in units of torch's largest answer."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The picture of one model with an adapter."""

    adapted: Adapted
    file: Path
    placement: Placement

    def graph(self) -> onnx.ModelProto:
        """Return the picture, with its weights."""
        return onnx.load(self.file)


class UnshownError(Exception):
    """A step between the model and its picture failed; the message names it."""


def show(family: str, kind: str, folder: Path, base: ir.Model | None = None) -> Shown:
    """Draw one model with one adapter into `folder`.

    Args:
        family: Of the model.
        kind: Of the adapter.
        folder: To draw into.
        base: The trace of the model without adapters, to say what these cost.

    Raises:
        RefusedError: PEFT does not put this kind of adapter into this model.
        UnshownError: Another step failed.
    """
    adapted = KINDS[kind].insert(FAMILIES[family])
    with step("not placed"):
        placement = place(adapted.model, adapted.before)
    with step("not exportable"):
        flat = trace(adapted.model, adapted.inputs(2, 8), adapted.axes, opset=20)
    if base is not None:
        per = base.graph.meta["graft.operations"].per
        placement = with_operations(placement, operations(base), operations(flat), per)
    with step("not folded"):
        view = fold(flat, placement, title=f"{family}, {kind}", facts={"base_model": "tiny"})
    with step("not saved"):
        save(view, folder / "view.onnx", weights=WEIGHTS)
    return Shown(adapted=adapted, file=folder / "view.onnx", placement=placement)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Say of an error in which step it came."""
    try:
        yield
    except Exception as error:
        raise UnshownError(f"{name}: {type(error).__name__}: {error}") from error


def check(shown: Shown) -> None:
    """Check everything that a person would take for granted.

    Raises:
        AssertionError: The picture is not true; the message says in what.
        UnshownError: The file is not valid, or ONNX Runtime cannot run it.
    """
    graph = shown.graph()
    with step("not valid"):
        onnx.checker.check_model(str(shown.file), full_check=True)
    check_nodes(graph, shown.adapted)
    check_counts(graph, shown.adapted)
    check_parameters(graph, shown.adapted)
    check_answers(shown)
    check_paths(shown)


def levels(graph: onnx.ModelProto) -> Iterator[tuple[str, list[onnx.NodeProto]]]:
    """Yield each level that Netron can show: its name and its nodes."""
    yield graph.graph.name, list(graph.graph.node)
    for function in graph.functions:
        yield function.name, list(function.node)


def check_nodes(graph: onnx.ModelProto, adapted: Adapted) -> None:
    """Check that the adapters drawn are those of PEFT, and that no level is crowded."""
    drawn = drawn_adapters(graph)
    made = adapters(adapted)
    missing, extra = made - drawn.keys(), drawn.keys() - made
    assert not missing, f"adapters not drawn: {sorted(missing)}"
    assert not extra, f"drawn, and no adapter: {sorted(extra)}"
    seen = {name: sum(n.op_type != "Constant" for n in nodes) for name, nodes in levels(graph)}
    crowded = {name: count for name, count in seen.items() if count > MOST_NODES}
    assert not crowded, f"more than {MOST_NODES} nodes: {crowded}"


def adapters(adapted: Adapted) -> set[str]:
    """Return the paths, in the base model, of PEFT's outermost layers that run.

    What adds virtual tokens changes no layer: its one adapter is the encoder of the prompt, which
    PEFT keeps beside the base model. T5 never calls `shared`: two other modules have its weights.
    """
    if hasattr(adapted.model, "prompt_encoder"):
        return {PROMPT}
    layers = {
        name: module
        for name, module in adapted.model.get_base_model().named_modules()
        if isinstance(module, BaseTunerLayer | AdaptedAttention | AdaptedAttentionGPT)
    }
    run: set[str] = set()
    hooks = [
        layer.register_forward_pre_hook(lambda *_, name=name: run.add(name))
        for name, layer in layers.items()
    ]
    answer(adapted, 2, 8)
    for hook in hooks:
        hook.remove()
    return {name for name in run if not any(name.startswith(f"{other}.") for other in run)}


def drawn_adapters(graph: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the nodes of adapters by path; of a module that runs several times, one of them."""
    return {
        re.sub(r"[@#]\d+", "", node.name): node
        for _, nodes in levels(graph)
        for node in nodes
        if node.domain == "peft" and not node.op_type.startswith("Trained")
    }


def check_counts(graph: onnx.ModelProto, adapted: Adapted) -> None:
    """Check that the numbers said of the model and of each adapter are PEFT's own."""
    trainable, total = adapted.model.get_nb_trainable_parameters()
    counted = told(graph, "the model")
    assert counted == (trainable, total - trainable), f"the model is said to have {counted}"
    nodes = drawn_adapters(graph)
    layers = {path: module(adapted, path) for path in adapters(adapted)}
    owners = Counter(id(value) for layer in layers.values() for value in layer.parameters())
    for path, layer in layers.items():
        values = list(layer.parameters())
        if any(owners[id(value)] > 1 for value in values):
            continue  # shared with another adapter: each of them may say so
        trains = sum(value.numel() for value in values if value.requires_grad)
        rests = sum(value.numel() for value in values) - trains
        counted = told(nodes[path], path)
        assert counted == (trains, rests), f"{path} has {(trains, rests)}, is said {counted}"


def told(part: onnx.ModelProto | onnx.NodeProto, name: str) -> tuple[int, int]:
    """Return what the picture says that trains and that rests in a part of it."""
    said = {entry.key: entry.value for entry in part.metadata_props}
    missing = {"params.trainable", "params.frozen"} - said.keys()
    assert not missing, f"{name} does not say {sorted(missing)}"
    return int(said["params.trainable"]), int(said["params.frozen"])


def module(adapted: Adapted, path: str) -> nn.Module:
    """Return PEFT's layer at a path of the base model, or the encoder of the prompt beside it."""
    inside = adapted.model.get_base_model() if path != PROMPT else adapted.model
    found: nn.Module = inside.get_submodule(path)
    return found


def check_parameters(graph: onnx.ModelProto, adapted: Adapted) -> None:
    """Check that every parameter with an effect is in the file, once, as torch has it."""
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    assert len(held) == len(graph.graph.initializer), "two weights have one name"
    known = dict(adapted.model.named_parameters())
    for name, value in known.items():
        if name in held:
            same = np.array_equal(onnx.numpy_helper.to_array(held[name]), value.detach().numpy())
            assert same, f"{name} has other values or another shape"
    lost = [name for name in known if name not in held and has_effect(adapted, known[name])]
    assert not lost, f"not in the file: {lost}"
    copies = doubles(graph, known)
    assert not copies, f"in the file twice: {copies}"
    trains = [name for name, value in known.items() if value.requires_grad and name in held]
    assert any(".modules_to_save." not in name for name in trains), "no adapter is in the file"


def has_effect(adapted: Adapted, value: Tensor) -> bool:
    """Tell whether other values of a parameter give other answers."""
    before = value.detach().clone()
    with torch.no_grad():
        expected = answer(adapted, 3, 11)
        value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
        changed = answer(adapted, 3, 11)
        value.copy_(before)
    return not np.array_equal(expected, changed)


def doubles(graph: onnx.ModelProto, known: dict[str, torch.nn.Parameter]) -> list[str]:
    """Return the parameters whose values are also in a constant, as they are or transposed."""
    constants = [t for t in graph.graph.initializer if t.name not in known]
    constants += [
        attribute.t
        for _, nodes in levels(graph)
        for node in nodes
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    arrays = [onnx.numpy_helper.to_array(constant) for constant in constants]
    return [
        name
        for name, value in known.items()
        for array in arrays
        if value.numel() > 1 and array.size == value.numel()
        if any(
            np.array_equal(array, each)
            for each in (value.detach().numpy(), value.detach().numpy().T)
        )
        and array.min() != array.max()
    ]


def answer(adapted: Adapted, rows: int, tokens: int) -> np.ndarray:
    """Return what torch answers, as the export takes it."""
    with torch.no_grad():
        made = adapted.model(**adapted.inputs(rows, tokens))
    return (made if isinstance(made, Tensor) else made.logits).numpy()


def check_answers(shown: Shown) -> None:
    """Check that ONNX Runtime answers as torch does, at sizes other than those of the trace."""
    with step("not loaded"):
        session = onnxruntime.InferenceSession(shown.file, providers=["CPUExecutionProvider"])
    for rows, tokens in ((3, 11), (1, 5)):
        given = {name: value.numpy() for name, value in shown.adapted.inputs(rows, tokens).items()}
        with step("not run"):
            (found,) = session.run(None, given)
        expected = answer(shown.adapted, rows, tokens)
        assert found.shape == expected.shape, f"shape {found.shape}, torch has {expected.shape}"
        difference = np.abs(found - expected).max() / np.abs(expected).max()
        assert difference <= TOLERANCE, f"off by {difference:.1e} with {rows} rows"


def check_paths(shown: Shown) -> None:
    """Check that the file says nothing of the machine on which it was made."""
    content = shown.file.read_bytes()
    for folder in (shown.file.parent, Path.cwd(), Path.home(), Path(torch.__file__).parent.parent):
        assert str(folder).encode() not in content, f"{folder} is in the file"
    assert not re.search(rb"\.pyc?\b", content), "a source file is named in the file"
