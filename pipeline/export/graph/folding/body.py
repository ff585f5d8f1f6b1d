"""The inside of a local function: the nodes of a group, with what enters them as formal inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from pipeline.export.graph.folding.boundary import Boundary
from pipeline.export.graph.folding.outline import Outline
from pipeline.export.graph.scopes import scopes_of
from pipeline.export.graph.sizes import Size

__all__ = ["TOLD", "build", "signature"]

TOLD = "graft.told"
"""Key in the `meta` of a call: from the name of a module to what a call of it says."""


def build(group: Sequence[ir.Node], edge: Boundary, outline: Outline) -> ir.Graph:
    """Copy a group into the graph of a function."""
    copy = _Copy(edge, outline)
    for node in group:
        copy.add(node)
    for value in edge.outputs:
        copy.rename(copy.values[value], outline.output(value))
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
            name = value.name or ""
            name = outline.formal(name) if outline.shared else name
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
        if TOLD in node.meta:
            self.nodes[-1].meta[TOLD] = node.meta[TOLD]

    def rename(self, value: ir.Value, name: str) -> None:
        """Give a value that leaves the function another name."""
        if value.name != name:
            self._taken.discard(value.name or "")
            value.name = self._fresh("output" if name in self._taken else name)

    def _input(self, node: ir.Node, value: ir.Value) -> ir.Value:
        if value in self._edge.measured and value not in self.values:
            self.values[value] = self._measure(value, *self._edge.measured[value])
        if value in self.values or value.const_value is None:
            return self.values[value]
        kind, attribute = "constant", ir.AttrTensor("value", value.const_value)
        if self._is_live(node, value):
            kind = self._outline.live
            attribute = ir.RefAttr("value_float", kind, ir.AttributeType.FLOAT)
        # One constant per use: Netron draws it in the node that reads it.
        constant = self._like(value, kind)
        self._append("Constant", [], [attribute], name=kind, outputs=[constant])
        return constant

    def _is_live(self, node: ir.Node, value: ir.Value) -> bool:
        outline, tensor = self._outline, value.const_value
        own = any(scope.path == outline.path for scope in scopes_of(node)[-1:])
        if not outline.live or not own or node.op_type != "Mul":
            return False
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size != 1:
            return False
        return bool(tensor.numpy().reshape(()) == np.float32(outline.attributes[outline.live]))

    def _measure(self, value: ir.Value, size: Size, tensor: ir.Value, axis: int) -> ir.Value:
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
        """Keep the path of a node; in a shared function, the part of it below the function."""
        name = node.name or node.op_type
        if not self._outline.shared:
            return name
        below = name.removeprefix(self._outline.name.partition("#")[0])
        return name.rpartition("/")[2] if below == name else below.lstrip("./")

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
