"""Which operators of a program are layers of torch: a module under its parameters' name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from pipeline.own.operators import bound

__all__ = ["head_of", "layer_of", "layers_of", "made_layer"]

_LINEAR = "aten.linear.default"
_CONVOLUTIONS: dict[str, Any] = {
    "aten.conv1d.default": nn.Conv1d, "aten.conv2d.default": nn.Conv2d,
    "aten.conv3d.default": nn.Conv3d, "aten.conv1d.padding": nn.Conv1d,
    "aten.conv2d.padding": nn.Conv2d, "aten.conv3d.padding": nn.Conv3d,
}  # fmt: skip

Node = Sequence[Any]
"""An operator's name, its arguments, the names of its results, and the module it was called in."""


def layers_of(program: Mapping[str, Any]) -> dict[str, Node]:
    """Return the first node of each layer by its path, in the order of the program.

    Not those whose parameters something else uses as well: that would not see an adapter.
    """
    found: dict[str, Node] = {}
    others = {_above(program["values"].get(program["output"], ""))}
    for node in program["nodes"]:
        path = layer_of(node, program)
        if path is not None and _how(found.setdefault(path, node)) == _how(node):
            continue
        named = (program["values"].get(value, "") for value in _values(node[1]))
        others |= {_above(name) for name in named}
    return {path: node for path, node in found.items() if path not in others}


def layer_of(node: Node, program: Mapping[str, Any]) -> str | None:
    """Return the path of the layer that a node may be; None if it is of no kind known."""
    if node[0] != _LINEAR and node[0] not in _CONVOLUTIONS:
        return None
    given = bound(node)
    weight, bias = (
        None if given[key] is None else program["values"].get(given[key]["value"], "")
        for key in ("weight", "bias")
    )
    path = _above(weight or "")
    fits = path and weight == f"{path}.weight" and bias in (None, f"{path}.bias")
    return path if fits else None


def head_of(program: Mapping[str, Any]) -> tuple[list[str], int | None]:
    """Return the layers that make the outputs, and how many those are if that is fixed.

    It follows the labels where the last operator is a linear layer.
    """
    layers = layers_of(program)
    for path, node in layers.items():
        if node[0] == _LINEAR and node[2] == program["output"]:
            return [path], None
    return list(layers)[-1:], int(program["outputs"])


def made_layer(node: Node, program: Mapping[str, Any], outputs: int | None) -> nn.Module:
    """Return the layer that a node is, with random weights; with `outputs` if it is the head."""
    given = bound(node)
    name = program["values"][given["weight"]["value"]]
    shape, bias = program["tensors"][name]["shape"], given["bias"] is not None
    if node[0] == _LINEAR:
        return nn.Linear(shape[1], shape[0] if outputs is None else outputs, bias=bias)
    axes, how = len(shape) - 2, {}
    for key in ("stride", "padding", "dilation"):
        value = given[key]
        how[key] = value if isinstance(value, str) else tuple(value * (axes // len(value)))
    layer: nn.Module = _CONVOLUTIONS[node[0]](
        shape[1] * given["groups"], shape[0], tuple(shape[2:]), groups=given["groups"], bias=bias,
        **how,
    )  # fmt: skip
    return layer


def _how(node: Node) -> tuple[str, dict[str, Any]]:
    return node[0], {key: value for key, value in bound(node).items() if key != "input"}


def _above(name: str) -> str:
    return name.rpartition(".")[0]


def _values(told: Any) -> Iterator[str]:
    """Give the names of the values in arguments."""
    if isinstance(told, Mapping):
        if "value" in told:
            yield told["value"]
    elif isinstance(told, list):
        for each in told:
            yield from _values(each)
