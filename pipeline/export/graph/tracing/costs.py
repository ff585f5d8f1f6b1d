"""Floating-point operations of a traced program, by module.

Counted are contractions (matrix products, convolutions, attention), a multiply-add as two: the
convention of `torch.utils.flop_counter`. Everything else counts as nothing.
Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1,
https://arxiv.org/abs/2001.08361.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.export import ExportedProgram

from pipeline.export.graph.scopes import scopes_in

__all__ = ["TOKENS", "Operations", "operations"]

TOKENS = 128
"""Length, for the count, of every named axis but the batch: attention costs more in a long text."""

_BATCH = "batch"
_ATEN = torch.ops.aten
_PRODUCTS = (_ATEN.linear, _ATEN.mm, _ATEN.bmm, _ATEN.matmul, _ATEN.mv)
_SUMS = (_ATEN.addmm, _ATEN.baddbmm)
_CONVOLUTIONS = (
    _ATEN.convolution, _ATEN.conv1d, _ATEN.conv2d, _ATEN.conv3d,
)  # fmt: skip


_TRANSPOSED = (_ATEN.conv_transpose1d, _ATEN.conv_transpose2d, _ATEN.conv_transpose3d)


@dataclass(frozen=True, kw_only=True, slots=True)
class Operations:
    """What one forward pass costs."""

    per: str
    """What it is counted for: `token in a text of 128`, or `example`."""
    by_module: Mapping[str, float]
    """By path of the innermost module that was running; modules without any are left out."""


def operations(
    program: ExportedProgram, axes: Mapping[str, Mapping[int, str]], *, inside: str
) -> Operations:
    """Count the operations of each module.

    Args:
        program: With symbolic shapes.
        axes: Names of the free axes of each input, in the order of the inputs.
        inside: Attribute of the traced wrapper that holds the model proper.
    """
    lengths, batch, tokens = _lengths(program, axes)
    counted: dict[str, float] = defaultdict(float)
    for node in program.graph.nodes:
        found = sympy.sympify(_flops(node)).subs(lengths)
        if found != 0:
            scopes = scopes_in(node, inside)
            counted[scopes[-1].path if scopes else ""] += float(found)
    share = batch * (tokens or 1)
    return Operations(
        per="example" if tokens is None else f"token in a text of {tokens}",
        by_module={path: total / share for path, total in counted.items()},
    )


def _lengths(
    program: ExportedProgram, axes: Mapping[str, Mapping[int, str]]
) -> tuple[dict[sympy.Expr, int], int, int | None]:
    """Return the length to count with for each symbol of the shapes, of the batch, of a text.

    An axis that the model has fixed, as a reshape to known lengths does, has the length it has.
    """
    inputs = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    lengths: dict[sympy.Expr, int] = {}
    batch, tokens = 1, None
    for name, named in zip(program.graph_signature.user_inputs, axes.values(), strict=False):
        for axis, symbol in named.items():
            length = inputs[str(name)].meta["val"].shape[axis]
            wanted = 1 if symbol == _BATCH else TOKENS
            if isinstance(length, torch.SymInt):
                lengths[length.node.expr] = wanted
            else:
                wanted = int(length)
            if symbol == _BATCH:
                batch = wanted
            elif tokens is None:
                tokens = wanted
    return lengths, batch, tokens


def _flops(node: fx.Node) -> Any:
    """Return the operations of one call, a number or an expression in its symbols."""
    if not isinstance(node.target, OpOverload):
        return 0
    operator, made = node.target.overloadpacket, node.meta.get("val")
    given: list[Any] = [
        each.meta.get("val") if isinstance(each, fx.Node) else each for each in node.args
    ]
    if not isinstance(made, Tensor) or not given:
        return 0
    if operator == _ATEN.einsum:
        return _einsum(str(given[0]), [each.meta["val"] for each in given[1]])
    if not isinstance(given[0], Tensor):
        return 0
    if operator in _PRODUCTS:
        return 2 * _elements(made.shape) * _size(given[0].shape[-1])
    if operator in _SUMS:
        return 2 * _elements(made.shape) * _size(given[1].shape[-1])
    if operator in _TRANSPOSED or (operator == _ATEN.convolution and given[6]):
        # A weight is (in, out / groups, *kernel): each input is spread over all but its first axis.
        return 2 * _elements(given[0].shape) * _elements(given[1].shape[1:])
    if operator in _CONVOLUTIONS:
        # A weight is (out, in / groups, *kernel): each output sums over all but its first axis.
        return 2 * _elements(made.shape) * _elements(given[1].shape[1:])
    if operator == _ATEN.scaled_dot_product_attention:
        query, key, value = given[:3]
        both = _size(query.shape[-1]) + _size(value.shape[-1])
        return 2 * _elements(query.shape[:-1]) * _size(key.shape[-2]) * both
    return 0


def _einsum(equation: str, operands: list[Tensor]) -> Any:
    """Return the same of a sum over every index that the result lacks; of two operands alone."""
    if len(operands) != 2 or "." in equation:
        return 0
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes = {
        letter: _size(length)
        for term, operand in zip(terms, operands, strict=True)
        for letter, length in zip(term, operand.shape, strict=True)
    }
    return 2 * prod(sizes.values(), start=sympy.Integer(1))


def _elements(shape: Any) -> Any:
    return prod((_size(length) for length in shape), start=sympy.Integer(1))


def _size(length: Any) -> Any:
    return length.node.expr if isinstance(length, torch.SymInt) else int(length)
