"""Make a traced graph smaller without touching a single parameter.

The exporter's own optimiser is no choice here: it transposes, renames, merges and evaluates
parameters, and a picture of the adapter is a picture of its parameters.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from pipeline.export.graph.scopes import infer, is_parameter
from pipeline.export.graph.tracing.rewrites import rewrite

__all__ = ["clean"]


def clean(model: ir.Model) -> None:
    """Evaluate constants, drop what nobody reads or changes nothing, write down known shapes."""
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
        rewrite(model.graph, node)
    ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.NameFixPass())(model)


def _reads_parameter(node: ir.Node) -> bool | None:
    """Answer in onnxscript's terms: False keeps the node, None leaves the choice to its rules."""
    return False if any(value and is_parameter(value) for value in node.inputs) else None
