"""The values that enter and leave a group of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pipeline.export.graph.scopes import is_parameter
from pipeline.export.graph.sizes import Size, axis_of, size_of

__all__ = ["Boundary", "boundary"]

_SMALL = 64
"""Elements of a constant, at most, that is copied to each place where it is used."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """What enters and leaves a group of nodes."""

    arguments: list[ir.Value]
    weights: list[ir.Value]
    measured: dict[ir.Value, tuple[Size, ir.Value, int]]
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
        if size is None:
            continue
        place = axis_of(size.symbol, tensors)
        if place is None and size.source.is_graph_input():
            place = size.source, size.axis
            tensors.append(size.source)
        if place is not None:
            measured[value] = (size, *place)
    outputs = [
        output
        for node in group
        for output in node.outputs
        if output.is_graph_output() or any(use.node not in members for use in output.uses())
    ]
    return Boundary(
        tensors + [value for value in arguments if size_of(value) and value not in measured],
        weights,
        measured,
        outputs,
    )


def _is_constant(value: ir.Value) -> bool:
    tensor = value.const_value
    return (
        value.is_initializer()
        and not is_parameter(value)
        and tensor is not None
        and tensor.size <= _SMALL
    )
