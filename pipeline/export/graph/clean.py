"""Make a traced graph smaller without touching a single parameter.

The exporter's own optimiser is no choice here: it transposes, renames, merges and evaluates
parameters, and a picture of the adapter is a picture of its parameters.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from pipeline.export.graph.scopes import infer, is_parameter
from pipeline.export.graph.sizes import size_of, symbol

__all__ = ["clean"]


def clean(model: ir.Model) -> None:
    """Evaluate constants, drop what nobody reads, make the targets of reshapes constant."""
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
    name = f"{node.outputs[0].name}_target"
    constant = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.INT64),
        shape=ir.Shape([len(axes)]),
        const_value=ir.tensor(axes, dtype=ir.DataType.INT64, name=name),
    )
    graph.register_initializer(constant)
    node.replace_input_with(1, constant)
    node.attributes.pop("allowzero", None)  # with it, 0 would mean an axis of length 0


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
