"""Shapes that a graph computes from its data while it runs, written down where they are known."""

from __future__ import annotations

import onnx_ir as ir

from pipeline.export.graph.sizes import size_of, symbol

__all__ = ["constant", "fix_expansion", "fix_target", "join", "whole_numbers"]

_WHOLE = {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL}


def fix_target(graph: ir.Graph, node: ir.Node) -> None:
    """Replace a target shape that is computed from sizes of the data by a constant one.

    ONNX writes 0 for "as in the data" and -1, once, for "whatever remains".
    """
    data, target = node.inputs
    concat = target.producer() if target is not None else None
    if data is None or concat is None or concat.op_type != "Concat":
        return
    pieces = concat.inputs
    if any(piece is None or constant(piece) == 0 for piece in pieces):
        return
    found = [_axis(piece, data, position) for position, piece in enumerate(pieces) if piece]
    axes = [axis for axis in found if axis is not None]
    if len(axes) < len(found) or axes.count(-1) > 1:
        return
    node.replace_input_with(1, whole_numbers(graph, axes, f"{node.outputs[0].name}_target"))
    node.attributes.pop("allowzero", None)  # with it, 0 would mean an axis of length 0


def fix_expansion(graph: ir.Graph, node: ir.Node) -> None:
    """Replace the computed target of an expansion by a constant; 1 keeps an axis as it is."""
    data, target = node.inputs
    concat = target.producer() if target is not None else None
    if data is None or data.shape is None or concat is None or concat.op_type != "Concat":
        return
    lengths: list[int] = []
    for position, piece in enumerate(concat.inputs):
        if piece is None or len(concat.inputs) != len(data.shape):
            return
        known, size = constant(piece), size_of(piece)
        if known is None and (size is None or symbol(data, position) != size.symbol):
            return
        lengths.append(1 if known is None else known)
    node.replace_input_with(1, whole_numbers(graph, lengths, f"{node.outputs[0].name}_target"))


def join(graph: ir.Graph, node: ir.Node) -> None:
    """Make one of two steps that each add an axis of length 1."""
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    if before is None or before.op_type != "Unsqueeze":
        return
    first, second = _axes(before), _axes(node)
    if first is None or second is None or len(second) != 1:
        return
    (new,) = second
    axes = sorted([new, *(axis + (new <= axis) for axis in first)])
    node.replace_input_with(0, before.inputs[0])
    node.replace_input_with(1, whole_numbers(graph, axes, f"{node.outputs[0].name}_axes"))


def whole_numbers(graph: ir.Graph, numbers: list[int], name: str) -> ir.Value:
    """Return a new int64 constant of the graph, of shape (numbers,)."""
    made = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape([len(numbers)]),
        const_value=ir.tensor(numbers, dtype=ir.DataType.INT64, name=name),
    )
    graph.register_initializer(made)
    return made


def constant(piece: ir.Value) -> int | None:
    """Return the whole number or truth that a constant of one element holds; None for others."""
    if piece.const_value is None or piece.const_value.size != 1:
        return None
    if piece.const_value.dtype not in _WHOLE:
        return None
    return int(piece.const_value.numpy().reshape(-1)[0])


def _axes(node: ir.Node) -> list[int] | None:
    axes = node.inputs[1].const_value if node.inputs[1] is not None else None
    found = [] if axes is None else [int(axis) for axis in axes.numpy().reshape(-1)]
    return found if found and min(found) >= 0 else None


def _axis(piece: ir.Value, data: ir.Value, position: int) -> int | None:
    if piece.const_value is not None:
        return constant(piece)
    size = size_of(piece)
    if size is None:
        return None
    known = data.shape is not None and position < len(data.shape)
    return 0 if known and symbol(data, position) == size.symbol else -1
