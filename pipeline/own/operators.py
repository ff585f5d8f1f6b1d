"""Which operators a program may call: arithmetic, and those of torch that only compute."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pipeline.errors import StageError

__all__ = ["bound", "is_check", "operator_named"]

_OPERATOR = re.compile(r"aten\.(\w+)\.(\w+)")
_PYTHON = ("add", "sub", "mul", "floordiv", "truediv", "neg", "mod", "pow", "eq", "ne", "lt", "le",
           "gt", "ge", "getitem", "and_", "or_", "not_")  # fmt: skip
_CHECKS = re.compile(r"aten\.(_assert|sym_constrain|_check)\w*\.")
_INTERNAL = r"_(?!softmax|log_softmax|unsafe_view|scaled_dot_product|to_copy|adaptive_avg)\w*"
_FORBIDDEN = re.compile(rf"aten\.(from_file|set_|resize_?|{_INTERNAL})\.")
"""Operators that read files, change memory that is not theirs, or are internal to torch."""


def operator_named(target: str) -> Any:
    """Return an operator by the name that a program has for it.

    Raises:
        StageError: It is another one.
    """
    module, _, name = target.rpartition(".")
    if module == "_operator" and name in _PYTHON:
        function: Callable[..., Any] = getattr(operator, name)
        return function
    known = _OPERATOR.fullmatch(target)
    if known is None or _FORBIDDEN.match(target):
        raise StageError(f"model.path: the program calls {target}, which is not supported")
    found = getattr(getattr(torch.ops.aten, known[1], None), known[2], None)
    if found is None:
        raise StageError(
            f"model.path: the program calls {target}, which torch {torch.__version__} does not have"
        )
    return found


def is_check(target: str) -> bool:
    """Whether an operator only checks the shapes that the program was exported for."""
    return _CHECKS.match(target) is not None


def bound(node: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of an operator of torch by name, with those it has by default."""
    schema = operator_named(node[0])._schema.arguments
    given = {each.name: each.default_value for each in schema if each.has_default_value()}
    for place, (name, value) in enumerate(node[1]):
        given[schema[place].name if name is None else name] = value
    return given
