"""The inside of a local function: the nodes of a group, with what enters them as formal inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from pipeline.export.graph.scopes import Scope, is_parameter, scopes_of
from pipeline.export.graph.sizes import axis_of, size_of

__all__ = ["Boundary", "Outline", "boundary", "build", "signature"]

_SMALL = 64
"""Elements of a constant, at most, that is copied to each place where it is used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """How a group of nodes shall look from outside."""

    domain: str
    op_type: str
    name: str
    """Name of the call node."""
    path: str
    """What names of nodes inside are relative to, in a shared function."""
    parents: tuple[Scope, ...]
    """The modules around the call node."""
    shared: bool
    """Whether groups with equal insides call one function. Its formal inputs have short names; the
    function of a single group names them like the weights, which makes Netron draw these inside."""
    doc: str
    formal: Callable[[str], str] = str
    """From the name of a weight to the name of the formal input."""
    argument: Callable[[ir.Value], str | None] = lambda _: None
    """Name for a formal input that is no weight."""
    attributes: Mapping[str, int | float] = field(default_factory=dict)
    live: str | None = None
    """The attribute that replaces the equal constant in a product of the group's own module."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Boundary:
    """What enters and leaves a group of nodes."""

    arguments: list[ir.Value]
    weights: list[ir.Value]
    measured: dict[ir.Value, tuple[ir.Value, int]]
    """Sizes computed outside that are the length of this axis of this argument."""
    outputs: list[ir.Value]

    @property
    def inputs(self) -> list[ir.Value]:
        """Everything the function takes, in order."""
        return [*self.arguments, *self.weights]


def boundary(graph: ir.Graph, group: Sequence[ir.Node]) -> Boundary:
    """Find what enters and leaves; constants and measurable sizes need not enter."""
    members = set(group)
    read = dict.fromkeys(
        value
        for node in group
        for value in node.inputs
        if value is not None and value.producer() not in members and not _is_constant(value)
    )
    rank = {value: place for place, value in enumerate(graph.initializers.values())}
    weights = sorted((value for value in read if value in rank), key=rank.__getitem__)
    arguments = [value for value in read if value not in rank]
    tensors = [value for value in arguments if size_of(value) is None]
    measured = {}
    for value in arguments:
        size = size_of(value)
        place = axis_of(size.symbol, tensors) if size is not None else None
        if place is not None:
            measured[value] = place
    outputs = [
        output
        for node in group
        for output in node.outputs
        if output.is_graph_output() or any(use.node not in members for use in output.uses())
    ]
    return Boundary(
        [value for value in arguments if value not in measured], weights, measured, outputs
    )


def build(group: Sequence[ir.Node], edge: Boundary, outline: Outline) -> ir.Graph:
    """Copy a group into the graph of a function."""
    copy = _Copy(edge, outline)
    for node in group:
        copy.add(node)
    return ir.Graph(
        [copy.values[value] for value in edge.inputs],
        [copy.values[value] for value in edge.outputs],
        nodes=copy.nodes,
        name=outline.op_type,
        doc_string=outline.doc,
    )


def signature(graph: ir.Graph) -> tuple[object, ...]:
    """Describe a function such that two with the same description compute the same."""
    return (
        tuple((value.name, value.dtype) for value in graph.inputs),
        tuple(value.name for value in graph.outputs),
        tuple(_describe(node) for node in graph),
    )


def _is_constant(value: ir.Value) -> bool:
    tensor = value.const_value
    return (
        value.is_initializer()
        and not is_parameter(value)
        and tensor is not None
        and tensor.size <= _SMALL
    )


def _describe(node: ir.Node) -> tuple[object, ...]:
    attributes: list[tuple[object, ...]] = []
    for attribute in sorted(node.attributes.values(), key=lambda attribute: attribute.name):
        content: object = attribute.ref_attr_name or repr(attribute.value)
        if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
            tensor = attribute.as_tensor()
            content = (tensor.dtype, tuple(tensor.shape), tensor.tobytes())
        attributes.append((attribute.name, attribute.type, content))
    names = tuple(value.name if value is not None else None for value in node.inputs)
    outputs = tuple(value.name for value in node.outputs)
    return (node.domain, node.op_type, names, outputs, tuple(attributes))


class _Copy:
    """A function in the making."""

    def __init__(self, edge: Boundary, outline: Outline) -> None:
        self.values: dict[ir.Value, ir.Value] = {}
        self.nodes: list[ir.Node] = []
        self._edge = edge
        self._outline = outline
        self._taken: set[str] = set()
        self._named: set[str] = set()
        for value in edge.weights:
            assert value.name is not None
            name = outline.formal(value.name) if outline.shared else value.name
            self.values[value] = self._like(value, name)
        for value in edge.arguments:
            self.values[value] = self._like(value, outline.argument(value) or "x")

    def add(self, node: ir.Node) -> None:
        """Append a copy of a node, and of the constants it reads before it."""
        inputs = [None if value is None else self._input(node, value) for value in node.inputs]
        outputs = []
        for value in node.outputs:
            name = node.op_type.lower() if self._outline.shared else value.name or "value"
            self.values[value] = self._like(value, name)
            outputs.append(self.values[value])
        self._append(
            node.op_type,
            inputs,
            node.attributes.values(),
            name=self._name(node),
            domain=node.domain,
            outputs=outputs,
            metadata_props=dict(node.metadata_props),
        )

    def _input(self, node: ir.Node, value: ir.Value) -> ir.Value:
        if value in self._edge.measured and value not in self.values:
            self.values[value] = self._measure(value, *self._edge.measured[value])
        if value in self.values:
            return self.values[value]
        assert value.const_value is not None
        outline = self._outline
        attribute: ir.Attr = ir.AttrTensor("value", value.const_value)
        kind = "constant"
        if outline.live is not None and self._is_live(node, value.const_value):
            kind = outline.live
            attribute = ir.RefAttr("value_float", outline.live, ir.AttributeType.FLOAT)
        # One constant per use: Netron draws it in the node that reads it.
        constant = self._like(value, kind)
        self._append("Constant", [], [attribute], name=kind, outputs=[constant])
        return constant

    def _is_live(self, node: ir.Node, tensor: ir.TensorProtocol) -> bool:
        outline = self._outline
        own = any(scope.path == outline.path for scope in scopes_of(node)[-1:])
        if not own or node.op_type != "Mul" or tensor.dtype != ir.DataType.FLOAT or tensor.size > 1:
            return False
        assert outline.live is not None
        return bool(tensor.numpy().reshape(()) == np.float32(outline.attributes[outline.live]))

    def _measure(self, value: ir.Value, tensor: ir.Value, axis: int) -> ir.Value:
        size = size_of(value)
        assert size is not None
        length = ir.Value(
            name=self._fresh(size.symbol),
            type=ir.TensorType(ir.DataType.INT64),
            shape=ir.Shape([1]),
        )
        ends = [ir.AttrInt64("start", axis), ir.AttrInt64("end", axis + 1)]
        self._append("Shape", [self.values[tensor]], ends, name=size.symbol, outputs=[length])
        if not size.scalar:
            return length
        scalar = self._like(value, size.symbol)
        self._append("Squeeze", [length], [], name=size.symbol, outputs=[scalar])
        return scalar

    def _append(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Iterable[ir.Attr],
        *,
        name: str,
        outputs: Sequence[ir.Value],
        domain: str = "",
        metadata_props: dict[str, str] | None = None,
    ) -> None:
        self.nodes.append(
            ir.Node(
                domain,
                op_type,
                inputs,
                attributes,
                outputs=outputs,
                name=_unused(name, self._named),
                metadata_props=metadata_props,
            )
        )

    def _name(self, node: ir.Node) -> str:
        """Return a path for a person: absolute in a function of its own, relative in a shared."""
        if node.domain:
            name = node.name or node.op_type
        else:
            name = "/".join(filter(None, [*(s.path for s in scopes_of(node)[-1:]), node.op_type]))
        return name.removeprefix(f"{self._outline.path}.") if self._outline.shared else name

    def _like(self, value: ir.Value, name: str) -> ir.Value:
        shape = value.shape.copy() if value.shape is not None else None
        return ir.Value(name=self._fresh(name), type=value.type, shape=shape)

    def _fresh(self, name: str) -> str:
        return _unused(name, self._taken)


def _unused(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        free, number = f"{name}{number}", number + 1
    taken.add(free)
    return free
