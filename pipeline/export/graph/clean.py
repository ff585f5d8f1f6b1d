"""Make a traced graph smaller without touching a single parameter.

The exporter's own optimiser is no choice here: it transposes, renames, merges and evaluates
parameters, and a picture of the adapter is a picture of its parameters.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from pipeline.export.graph.scopes import infer, is_parameter, move_into, scopes_of
from pipeline.export.graph.sizes import size_of, symbol

__all__ = ["clean"]

_END = 2**63 - 1
"""How an exporter writes "to the end" of an axis."""


def clean(model: ir.Model) -> None:
    """Evaluate constants, drop what nobody reads or changes nothing, fix the targets of reshapes.

    None of this touches a parameter.
    """
    for _ in range(2):  # the first pass learns shapes that let the second one evaluate more
        optimizer.fold_constants_ir(
            model, onnx_shape_inference=True, should_fold=lambda node: _reads_parameter(node)
        )
    ir.passes.Sequential(
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    )(model)
    infer(model.graph)
    for node in list(model.graph):
        if node.op_type == "Reshape":
            _fix_target(model.graph, node)
        elif node.op_type == "Conv":
            _drop_bias(node)
        elif node.op_type == "Expand":
            _fix_expansion(model.graph, node)
        elif node.op_type == "Unsqueeze":
            _join(model.graph, node)
        elif _does_nothing(node) and not node.outputs[0].is_graph_output():
            data = next(value for value in node.inputs if value and value.const_value is None)
            node.outputs[0].replace_all_uses_with(data)
        elif node.op_type == "Slice" and node.graph is not None:
            _split(model.graph, node)
    ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.NameFixPass())(model)


def _reads_parameter(node: ir.Node) -> bool | None:
    """Answer in onnxscript's terms: False keeps the node, None leaves the choice to its rules."""
    return False if any(value and is_parameter(value) for value in node.inputs) else None


def _fix_target(graph: ir.Graph, node: ir.Node) -> None:
    """Replace a target shape that is computed from sizes of the data by a constant one.

    ONNX writes 0 for "as in the data" and -1, once, for "whatever remains".
    """
    data, target = node.inputs
    concat = target.producer() if target is not None else None
    if data is None or concat is None or concat.op_type != "Concat":
        return
    pieces = concat.inputs
    if any(piece is None or _constant(piece) == 0 for piece in pieces):
        return
    found = [_axis(piece, data, position) for position, piece in enumerate(pieces) if piece]
    axes = [axis for axis in found if axis is not None]
    if len(axes) < len(found) or axes.count(-1) > 1:
        return
    node.replace_input_with(1, _whole_numbers(graph, axes, f"{node.outputs[0].name}_target"))
    node.attributes.pop("allowzero", None)  # with it, 0 would mean an axis of length 0


def _fix_expansion(graph: ir.Graph, node: ir.Node) -> None:
    """Replace the computed target of an expansion by a constant; 1 keeps an axis as it is."""
    data, target = node.inputs
    concat = target.producer() if target is not None else None
    if data is None or data.shape is None or concat is None or concat.op_type != "Concat":
        return
    lengths: list[int] = []
    for position, piece in enumerate(concat.inputs):
        if piece is None or len(concat.inputs) != len(data.shape):
            return
        known, size = _constant(piece), size_of(piece)
        if known is None and (size is None or symbol(data, position) != size.symbol):
            return
        lengths.append(1 if known is None else known)
    node.replace_input_with(1, _whole_numbers(graph, lengths, f"{node.outputs[0].name}_target"))


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
            [data, _whole_numbers(graph, [end, length - end], f"{node.outputs[0].name}_lengths")],
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
    """Return start, end and axis of a slice of one axis, if they are constants and its step is 1."""
    numbers = [_constant(value) if value is not None else None for value in node.inputs[1:]]
    if len(numbers) < 3 or None in numbers or numbers[3:] not in ([], [1]):
        return None
    if node.outputs[0].is_graph_output():
        return None
    start, end, axis = numbers[:3]
    assert start is not None and end is not None and axis is not None
    return (start, end, axis) if 0 <= start < end and axis >= 0 else None


def _does_nothing(node: ir.Node) -> bool:
    """Recognise what tracing a mask leaves behind: all of an axis, plus 0, and true."""
    data, *rest = node.inputs
    if data is None:
        return False
    constants = [_constant(value) if value is not None else None for value in rest]
    if node.op_type == "Slice" and data.const_value is None:
        start, end, _, *step = constants if len(constants) > 2 else [None] * 3
        return start == 0 and end == _END and step in ([], [1])
    if len(rest) != 1 or rest[0] is None:
        return False
    pair = (_constant(data), constants[0])
    if node.op_type == "Add" and data.dtype == ir.DataType.INT64:
        return 0 in pair and pair.count(None) == 1 and _keeps_shape(node)
    return node.op_type == "And" and 1 in pair and pair.count(None) == 1 and _keeps_shape(node)


def _keeps_shape(node: ir.Node) -> bool:
    """Tell whether the one input that is no constant has the shape of the output."""
    made = node.outputs[0].shape
    given = [value.shape for value in node.inputs if value and value.const_value is None]
    return made is not None and given == [made]


def _join(graph: ir.Graph, node: ir.Node) -> None:
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
    node.replace_input_with(1, _whole_numbers(graph, axes, f"{node.outputs[0].name}_axes"))


def _axes(node: ir.Node) -> list[int] | None:
    axes = node.inputs[1].const_value if node.inputs[1] is not None else None
    found = [] if axes is None else [int(axis) for axis in axes.numpy().reshape(-1)]
    return found if found and min(found) >= 0 else None


def _whole_numbers(graph: ir.Graph, numbers: list[int], name: str) -> ir.Value:
    constant = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape([len(numbers)]),
        const_value=ir.tensor(numbers, dtype=ir.DataType.INT64, name=name),
    )
    graph.register_initializer(constant)
    return constant


def _constant(piece: ir.Value) -> int | None:
    if piece.const_value is None or piece.const_value.size != 1:
        return None
    return int(piece.const_value.numpy().reshape(-1)[0])


def _axis(piece: ir.Value, data: ir.Value, position: int) -> int | None:
    if piece.const_value is not None:
        return _constant(piece)
    size = size_of(piece)
    if size is None:
        return None
    known = data.shape is not None and position < len(data.shape)
    return 0 if known and symbol(data, position) == size.symbol else -1
