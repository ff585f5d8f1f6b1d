"""Steps that tracing leaves behind and that say nothing: each with an equal that is shorter."""

from __future__ import annotations

import onnx_ir as ir

from pipeline.export.graph.scopes import is_parameter, move_into, scopes_of
from pipeline.export.graph.tracing.shapes import (
    constant,
    fix_expansion,
    fix_target,
    join,
    whole_numbers,
)

__all__ = ["rewrite"]

_SOMETIMES_NOTHING = {"Add", "And", "Reshape", "Slice"}
_END = 2**63 - 1
"""How an exporter writes "to the end" of an axis."""


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    """Replace a node by something shorter that computes the same, if it is one of those we know."""
    if node.op_type == "Reshape" and not _is_of_that_shape(node):
        fix_target(graph, node)
    elif node.op_type == "Conv":
        _drop_bias(node)
    elif node.op_type == "Expand":
        fix_expansion(graph, node)
    elif node.op_type == "Unsqueeze":
        join(graph, node)
    elif _does_nothing(node) and not node.outputs[0].is_graph_output():
        data = next(value for value in node.inputs if value and value.const_value is None)
        node.outputs[0].replace_all_uses_with(data)
    elif node.op_type == "Slice" and node.graph is not None:
        _split(graph, node)


def _drop_bias(node: ir.Node) -> None:
    """Drop the zeros that the exporter adds where a convolution has no bias."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None or bias.const_value is None or is_parameter(bias):
        return
    if not bias.const_value.numpy().any():
        node.resize_inputs(2)


def _split(graph: ir.Graph, node: ir.Node) -> None:
    """Make one of two slices that together are all of an axis, as rotary embeddings cut them."""
    data, cut = node.inputs[0], _cut(node)
    if data is None or data.shape is None or cut is None or cut[0] != 0:
        return
    _, end, axis = cut
    length = data.shape[axis]
    for other in [use.node for use in data.uses() if use.node.op_type == "Slice"]:
        rest = _cut(other)
        if rest is None or rest[0] != end or rest[2] != axis or not isinstance(length, int):
            continue
        if rest[1] < length or scopes_of(other) != scopes_of(node):
            continue
        split = ir.Node(
            "",
            "Split",
            [data, whole_numbers(graph, [end, length - end], f"{node.outputs[0].name}_lengths")],
            [ir.AttrInt64("axis", axis)],
            outputs=[
                ir.Value(
                    name=old.outputs[0].name, type=old.outputs[0].type, shape=old.outputs[0].shape
                )
                for old in (node, other)
            ],
            name=node.name,
        )
        move_into(split, scopes_of(node))
        first = min(node, other, key=list(graph).index)
        graph.insert_before(first, split)
        for old, new in zip((node, other), split.outputs, strict=True):
            old.outputs[0].replace_all_uses_with(new)
            graph.remove(old, safe=True)
        return


def _cut(node: ir.Node) -> tuple[int, int, int] | None:
    """Return start, end and axis of a slice of one axis, if they are constant and its step is 1."""
    numbers = [constant(value) if value is not None else None for value in node.inputs[1:]]
    if len(numbers) < 3 or None in numbers or numbers[3:] not in ([], [1]):
        return None
    if node.outputs[0].is_graph_output():
        return None
    start, end, axis = numbers[:3]
    if start is None or end is None or axis is None or axis < 0:
        return None
    return (start, end, axis) if 0 <= start < end else None


def _does_nothing(node: ir.Node) -> bool:
    """Recognise what tracing leaves behind: all of an axis, the shape it has, plus 0, and true."""
    if node.op_type not in _SOMETIMES_NOTHING:
        return False
    data, *rest = node.inputs
    if data is None:
        return False
    if node.op_type == "Reshape":
        return data.const_value is None and _is_of_that_shape(node)
    constants = [constant(value) if value is not None else None for value in rest]
    if node.op_type == "Slice" and data.const_value is None:
        start, end, _, *step = constants if len(constants) > 2 else [None] * 3
        return start == 0 and end == _END and step in ([], [1])
    if len(rest) != 1 or rest[0] is None:
        return False
    pair = (constant(data), constants[0])
    if node.op_type == "Add" and data.dtype == ir.DataType.INT64:
        return 0 in pair and pair.count(None) == 1 and _keeps_shape(node)
    return node.op_type == "And" and 1 in pair and pair.count(None) == 1 and _keeps_shape(node)


def _is_of_that_shape(node: ir.Node) -> bool:
    """Tell whether a reshape leaves its data as they are."""
    data, made = node.inputs[0], node.outputs[0]
    if data is None or data.shape is None or data.shape != made.shape:
        return False
    return all(isinstance(axis, int) or axis.value is not None for axis in data.shape)


def _keeps_shape(node: ir.Node) -> bool:
    """Tell whether the one input that is no constant has the shape of the output."""
    made = node.outputs[0].shape
    given = [value.shape for value in node.inputs if value and value.const_value is None]
    return made is not None and given == [made]
