"""Sizes of axes that a graph computes while it runs: batch, sequence.

The tracer measures each symbolic size once, on a graph input, and every layer reads it from there.
Such a size can as well be measured on any other value with an axis of that symbol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

__all__ = ["Size", "axis_of", "size_of", "symbol"]

_SAME_NUMBER = {"Reshape", "Squeeze", "Unsqueeze", "Identity"}


@dataclass(frozen=True, slots=True)
class Size:
    """The length of one axis."""

    symbol: str
    """Name of the axis: `sequence`."""
    scalar: bool
    """Whether it is held in a tensor without axes, or else in one of shape (1,)."""
    source: ir.Value
    axis: int


def symbol(value: ir.Value, axis: int) -> str | None:
    """Return the name of a symbolic axis; None when it is fixed or unknown."""
    dimension = value.shape[axis] if value.shape is not None else None
    return dimension.value if isinstance(dimension, ir.SymbolicDim) else None


def size_of(value: ir.Value) -> Size | None:
    """Recognise an int64 that is the length of one symbolic axis of some other value."""
    node = value.producer()
    while node is not None and node.op_type in _SAME_NUMBER and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Shape" or value.shape is None or len(value.shape) > 1:
        return None
    measured = node.inputs[0]
    if measured is None or measured.shape is None:
        return None
    rank = len(measured.shape)
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else rank
    if end - start != 1 or not 0 <= start < rank:
        return None
    name = symbol(measured, start)
    return None if name is None else Size(name, len(value.shape) == 0, measured, start)


def axis_of(name: str, values: Iterable[ir.Value]) -> tuple[ir.Value, int] | None:
    """Find the first value, and its axis, with a symbolic axis of this name."""
    for value in values:
        for axis in range(len(value.shape) if value.shape is not None else 0):
            if symbol(value, axis) == name:
                return value, axis
    return None
