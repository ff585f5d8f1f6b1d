"""The names that a module's forward gives to its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnx_ir.tensor_adapters import from_torch_dtype
from torch import SymInt, Tensor, fx, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram

__all__ = ["Arguments", "observe", "operands"]


Tensors = tuple[tuple[str, ir.DataType, tuple[int, ...]], ...]
"""Name, type and shape in the example of each tensor that a module is called with."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the modules of a model were called with in one example."""

    lengths: Mapping[str, int]
    """Length of each named axis in the example."""
    tensors: Mapping[str, Tensors]
    """By module path: name, type and shape of each tensor in its first call."""
    calls: Mapping[str, Mapping[str, str]]
    """By torch call, such as `linear_3`: the parameter of the operator that each value is."""

    def name(self, path: str, value: ir.Value) -> str | None:
        """Name a value that enters a module, where type and shape leave no doubt."""
        if value.shape is None:
            return None
        shape = tuple(
            length if isinstance(length, int) else self.lengths.get(str(length.value), -1)
            for length in value.shape
        )
        fits = [
            name
            for name, dtype, seen in self.tensors.get(path, ())
            if dtype == value.dtype and seen == shape
        ]
        return fits[0] if len(set(fits)) == 1 else None


@contextmanager
def observe(model: nn.Module) -> Iterator[dict[str, Tensors]]:
    """Note what each module is called with, by its path, while the model is being traced."""
    seen: dict[str, Tensors] = {}

    def note(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if path in seen:
            return
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        bound |= bound.pop("kwargs", {})
        seen[path] = tuple(
            (name, from_torch_dtype(value.dtype), tuple(map(_length, value.shape)))
            for name, given in bound.items()
            for value in (given if isinstance(given, tuple | list) else [given])
            if isinstance(value, Tensor)
        )

    hooks = [
        module.register_forward_pre_hook(
            lambda module, args, kwargs, path=path: note(path, module, args, kwargs),
            with_kwargs=True,
        )
        for path, module in model.named_modules()
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _length(axis: int | SymInt) -> int:
    """Return the length that a symbolic axis has in the example."""
    return axis if isinstance(axis, int) else int(axis.node.hint)


def operands(program: ExportedProgram) -> dict[str, dict[str, str]]:
    """Return, by call, the parameter of its operator that each value is: `query`, `attn_mask`."""
    found = {}
    for node in program.graph.nodes:
        if isinstance(node.target, OpOverload):
            names = [parameter.name for parameter in node.target._schema.arguments]
            given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
            found[node.name] = {
                value.name: name for name, value in given.items() if isinstance(value, fx.Node)
            }
    return found
