"""The graphs that are shown: read without their weights, put into the folder with or without."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

__all__ = ["names", "operators", "put", "read"]

_LEFT_OUT = "left-out"
"""The file in which a graph without values says they are; there is none of that name."""


def read(file: Path) -> ModelProto:
    """Return the graph without its weights.

    Raises:
        StageError: There is no such file, or it is not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(file, load_external_data=False)
    except FileNotFoundError as error:
        raise StageError(
            f"visualize: nothing to show, {file} does not exist; run the stage export again"
        ) from error
    except DecodeError as error:
        raise StageError(f"visualize: {file} is not an ONNX file") from error
    if not model.graph.node:  # protobuf reads some text files as an empty model
        raise StageError(f"visualize: {file} is not an ONNX file, or its graph is empty")
    return model


def names(model: ModelProto) -> frozenset[str]:
    """Return the names of all nodes, at every level: what a link can lead to."""
    return frozenset(
        node.name for graph in (model.graph, *model.functions) for node in graph.node if node.name
    )


def operators(model: ModelProto) -> frozenset[str]:
    """Return the types of all nodes, at every level."""
    return frozenset(
        node.op_type for graph in (model.graph, *model.functions) for node in graph.node
    )


def put(model: ModelProto, source: Path, target: Path, *, weights: bool) -> None:
    """Write the graph to `target`, with its files of weights beside it or without any value.

    Args:
        model: What `read` gave; it is changed when the values are left out.
        source: Where it was read.
        target: The file to write.
        weights: Whether the values of the weights go along.

    Raises:
        StageError: The graph names a file of weights that is not beside it.
    """
    if not weights:
        _forget_values(model)
        target.write_bytes(model.SerializeToString())
        return
    shutil.copyfile(source, target)
    for name in _data_files(model):
        _put_data(name, source.parent, target.parent)


def _data_files(model: ModelProto) -> list[str]:
    """Return the names of the files in which the graph says its weights are."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    tensors = (each for each in model.graph.initializer if uses_external_data(each))
    return sorted({ExternalDataInfo(tensor).location for tensor in tensors} - {_LEFT_OUT})


def _put_data(name: str, beside: Path, folder: Path) -> None:
    """Copy a file of weights into `folder`.

    A link would save the space, but onnx refuses to read weights that have two names, here and
    in the export alike.

    Raises:
        StageError: `name` is not that of a file in the folder `beside`.
    """
    source = beside / name
    if "/" in name or "\\" in name or not source.is_file() or source.is_symlink():
        raise StageError(
            f"visualize: the graph says its weights are in {name!r}, which is not a file in "
            f"{beside}; run the stage export again, or set visualize.weights=false"
        )
    shutil.copyfile(source, folder / name)


def _forget_values(model: ModelProto) -> None:
    """Empty every weight; shapes, scalars and integers that the file itself holds stay."""
    from math import prod

    from onnx import TensorProto
    from onnx.external_data_helper import uses_external_data

    exact = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor) and (tensor.data_type in exact or prod(tensor.dims) <= 1):
            continue
        shape = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        shape.data_location = TensorProto.EXTERNAL
        shape.external_data.add(key="location", value=_LEFT_OUT)
        tensor.CopyFrom(shape)
