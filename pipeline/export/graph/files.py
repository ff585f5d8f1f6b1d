"""Graphs on disk, with their weights in one file beside them."""

from __future__ import annotations

import math
from pathlib import Path

import onnx_ir as ir

from pipeline.export.graph.scopes import is_parameter

__all__ = ["save"]

_LARGE = 1024
"""Bytes of a tensor, at least, that go to the file of weights."""
_PAGE = 4096
"""Bytes to which tensors are aligned, so that a runtime can map them into memory."""
_SAVED = "graft.saved"


def save(model: ir.Model, file: Path, *, weights: str | None) -> None:
    """Write a graph to `file` and its large tensors to the file `weights` beside it.

    Tensors that another model in this process has saved to the same file of weights are not written
    again: a model and what `fold` made of it share one file. Anything else that was in that file is
    lost when the first of them is saved.

    Args:
        model: Not edited.
        file: To write.
        weights: Name of the file of weights; None writes shapes and no values.
    """
    if weights is None:
        _save_shapes(model, file)
        return
    target = file.parent / weights
    large = [
        (value, value.const_value)
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.const_value.nbytes >= _LARGE
    ]
    fresh = not any(_saved(tensor, target) for _, tensor in large)
    with target.open("wb" if fresh else "ab") as stream:
        for _, tensor in large:
            if _saved(tensor, target) is None:
                stream.write(bytes(-stream.tell() % _PAGE))
                tensor.meta[_SAVED] = (target.resolve(), stream.tell())
                stream.write(tensor.tobytes())
    try:
        for value, tensor in large:
            offset = _saved(tensor, target)
            value.const_value = ir.ExternalTensor(
                weights,
                offset,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.numpy().shape),
                name=value.name or "",
                base_dir=file.parent,
            )
        ir.save(model, file)
    finally:
        for value, tensor in large:
            value.const_value = tensor


def _save_shapes(model: ir.Model, file: Path) -> None:
    """Write a graph whose parameters say where their values are not: in a file `left-out`."""
    before = {}
    end = 0
    for name, value in model.graph.initializers.items():
        shape, dtype = value.shape, value.dtype
        if not is_parameter(value) or shape is None or dtype is None:
            continue
        nbytes = math.ceil(math.prod(shape.numpy()) * dtype.bitwidth / 8)
        before[name] = value.const_value
        value.const_value = ir.ExternalTensor(
            "left-out", end, nbytes, dtype, shape=shape, name=name, base_dir=file.parent
        )
        end += nbytes
    try:
        ir.save(model, file)
    finally:
        for name, tensor in before.items():
            model.graph.initializers[name].const_value = tensor


def _saved(tensor: ir.TensorProtocol, target: Path) -> int | None:
    """Return where in the file of weights a tensor lies, if it does."""
    path, offset = tensor.meta.get(_SAVED, (None, None))
    return offset if path == target.resolve() and target.exists() else None
