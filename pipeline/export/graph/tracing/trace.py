"""From a torch model to a flat ONNX graph in which every parameter keeps its torch name."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError
from torch.export import ExportedProgram
from torch.onnx import OnnxExporterError

from pipeline.errors import StageError
from pipeline.export.graph.scopes import (
    Scope,
    is_adapter,
    is_parameter,
    move_into,
    record,
    scopes_of,
)
from pipeline.export.graph.tracing.arguments import Arguments, observe, operands
from pipeline.export.graph.tracing.clean import clean
from pipeline.export.graph.tracing.costs import operations
from pipeline.export.graph.tracing.traceable import traceable

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["trace"]


class _Traced(nn.Module):
    """The model as a function of tensors, in a fixed order, that returns one tensor."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.traced = model
        self.names = tuple(names)
        self.training = False  # eval() would reach into the caller's model

    def forward(self, *tensors: Tensor) -> Tensor:
        made = self.traced(**dict(zip(self.names, tensors, strict=True)))
        if _has_logits(made):
            made = made.logits
        while not isinstance(made, Tensor):
            made = next(iter(made.values() if isinstance(made, Mapping) else made))
        return made


def trace(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]],
    *,
    opset: int,
) -> ir.Model:
    """Export a model as a flat, clean graph with the inputs of `inputs` and one output.

    Parameters and buffers keep name, layout and memory: the graph reads the tensors of `model`, so
    save it before you merge or train on. Those on the meta device have a shape and no value. The
    output is `logits` if the model returns an object that has them, else `output`, the first tensor
    of what it returns.

    Args:
        model: In eval mode; its forward takes `inputs` by name.
        inputs: An example. An axis of length 1 would be taken for a fixed one, so none may be.
        axes: Names of the axes that vary, by input and position: `{"input_ids": {0: "batch"}}`.
        opset: Version of the ONNX operators.

    Raises:
        ValueError: The model is in train mode, or the example has an axis of length 1 that varies.
        StageError: The model does something that ONNX cannot express; the message says what.
    """
    if model.training:
        raise ValueError("trace a model in eval mode: call eval() first")
    short = [name for name in axes if any(inputs[name].shape[axis] < 2 for axis in axes[name])]
    if short:
        raise ValueError(f"an axis that varies has length 1 in the example of {', '.join(short)}")
    returned: list[object] = []
    with torch.no_grad(), _quiet(), traceable(), observe(model) as seen:
        flat, program = _export(model, inputs, axes, opset, returned)
        flat.graph.outputs[0].name = "logits" if _has_logits(returned[0]) else "output"
        record(flat, program, inside="traced", parameters=_names(model))
        _adopt(flat, model)
        for value in flat.graph.initializers.values():
            if getattr(getattr(value.const_value, "raw", None), "is_meta", False):
                value.const_value = None  # there is nothing to read
        clean(flat)
    lengths = {
        symbol: inputs[name].shape[axis]
        for name, named in axes.items()
        for axis, symbol in named.items()
    }
    flat.graph.meta["graft.arguments"] = Arguments(lengths, seen, operands(program))
    flat.graph.meta["graft.home"] = _home(model)
    flat.graph.meta["graft.operations"] = operations(
        program, {name: axes.get(name, {}) for name in inputs}, inside="traced"
    )
    return flat


def _export(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]],
    opset: int,
    returned: list[object],
) -> tuple[ir.Model, ExportedProgram]:
    hook = model.register_forward_hook(lambda _, __, made: returned.append(made))
    try:
        made = torch.onnx.export(
            _Traced(model, inputs),
            tuple(inputs.values()),
            input_names=list(inputs),
            dynamic_shapes={"tensors": tuple(dict(axes.get(name, {})) for name in inputs)},
            opset_version=opset,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    except (OnnxExporterError, UserError) as error:
        raise StageError(
            f"export: {type(model).__name__} cannot be drawn: {_why(error)}"
        ) from error
    finally:
        hook.remove()
    if made is None or made.exported_program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return made.model, made.exported_program


def _why(error: BaseException) -> str:
    """Return the first line of the error at the root of others, without the colours of a screen."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def _has_logits(made: object) -> bool:
    return getattr(made, "logits", None) is not None


def _names(model: nn.Module) -> dict[str, str]:
    """Return the name of every parameter and buffer; what is shared goes by its first one."""
    first: dict[int, str] = {}
    names = {}
    for values in (model.named_parameters, model.named_buffers):
        for name, value in values(remove_duplicate=False):
            names[name] = first.setdefault(id(value), name)
    return names


def _home(model: nn.Module) -> str:
    """Return the path of the base model inside the wrappers of PEFT."""
    if not hasattr(model, "get_base_model"):
        return ""
    base: nn.Module = cast("PeftModel", model).get_base_model()
    paths: dict[nn.Module, str] = {module: path for path, module in model.named_modules()}
    return paths[base]


def _adopt(flat: ir.Model, model: nn.Module) -> None:
    """Count steps that read a weight of an adapter to the adapter, wherever they are written.

    PEFT reads the embedding of a prompt without calling the module that holds it.
    """
    modules = dict(model.named_modules())
    for node in flat.graph:
        for value in node.inputs:
            if value is None or not is_parameter(value):
                continue
            parts = (value.name or "").split(".")
            above = (".".join(parts[:end]) for end in range(1, len(parts)))
            kinds = ((path, type(modules[path])) for path in above if path in modules)
            owners = (Scope(path, f"{kind.__module__}.{kind.__qualname__}") for path, kind in kinds)
            owner = next(filter(is_adapter, owners), None)
            around = scopes_of(node)
            if owner is not None and not any(is_adapter(scope) for scope in around):
                move_into(node, (*around, owner))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to itself; what it raises still comes through."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
