"""Replace groups of nodes by calls of local functions, in place."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from pipeline.export.graph.folding.body import TOLD, build, signature
from pipeline.export.graph.folding.boundary import boundary
from pipeline.export.graph.folding.order import producers, window
from pipeline.export.graph.folding.outline import Outline
from pipeline.export.graph.scopes import move_into

__all__ = ["TOLD", "Folder"]


class Folder:
    """The local functions of a model, and the one way to make more of them."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self._known: dict[tuple[object, ...], ir.Function] = {}

    def contract(self, group: Collection[ir.Node], outline: Outline) -> ir.Node:
        """Replace a convex group by one call node."""
        members = set(group)
        between = window(list(self.model.graph), group)
        group = [node for node in between if node in members]
        edge = boundary(self.model.graph, group)
        function = self._function(build(group, edge, outline), outline)
        call = ir.Node(
            function.domain,
            function.name,
            edge.inputs,
            _attributes(outline),
            outputs=[
                ir.Value(type=output.type, shape=output.shape, name=output.name)
                for output in edge.outputs
            ],
            name=outline.name,
            metadata_props=dict(outline.told(outline.module)),
        )
        call.meta[TOLD] = outline.told
        move_into(call, outline.parents)
        for old, new in zip(edge.outputs, call.outputs, strict=True):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        _replace(self.model.graph, between, group, call)
        return call

    def _function(self, body: ir.Graph, outline: Outline) -> ir.Function:
        key = (outline.domain, outline.op_type, *outline.attributes, *signature(body))
        if outline.shared and key in self._known:
            function = self._known[key]
            _widen(function, body)
            return function
        name, number = outline.op_type, 1
        while (outline.domain, name, "") in self.model.functions:
            number += 1
            name = f"{outline.op_type}_{number}"
        body.name = name
        body.opset_imports.update({"": self.model.opset_imports[""]})
        body.opset_imports.update({node.domain: 1 for node in body if node.domain})
        function = ir.Function(outline.domain, name, graph=body, attributes=_attributes(outline))
        self.model.functions[function.identifier()] = function
        self.model.opset_imports[outline.domain] = 1
        self._known[key] = function
        return function


def _attributes(outline: Outline) -> list[ir.Attr]:
    return [
        ir.AttrInt64(name, value) if isinstance(value, int) else ir.AttrFloat32(name, value)
        for name, value in outline.attributes.items()
    ]


def _widen(function: ir.Function, body: ir.Graph) -> None:
    """Forget the lengths in a shared function that another call of it does not have."""
    mine = [*function.inputs, *(output for node in function for output in node.outputs)]
    theirs = [*body.inputs, *(output for node in body for output in node.outputs)]
    for known, other in zip(mine, theirs, strict=True):
        if known.shape == other.shape:
            continue
        if known.shape is None or other.shape is None or len(known.shape) != len(other.shape):
            known.shape = None
        else:
            pairs = zip(known.shape, other.shape, strict=True)
            known.shape = ir.Shape([one if one == two else None for one, two in pairs])


def _replace(
    graph: ir.Graph, between: Sequence[ir.Node], group: Sequence[ir.Node], call: ir.Node
) -> None:
    """Put the call where the last of the group stood, and after it what depends on the group."""
    members = set(group)
    after = {call}
    for node in between:
        if node not in members and any(before in after for before in producers(node)):
            after.add(node)
    waiting = [node for node in between if node in after]
    graph.insert_after(group[-1], call)
    graph.remove(waiting)
    graph.insert_after(call, waiting)
    graph.remove(group, safe=True)
