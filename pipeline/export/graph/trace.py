"""From a torch model to a flat ONNX graph in which every parameter keeps its torch name."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import onnx_ir as ir
import torch
from torch import Tensor, nn

from pipeline.export.graph.arguments import Arguments, observe, operands
from pipeline.export.graph.clean import clean
from pipeline.export.graph.scopes import record

__all__ = ["trace"]


class _Logits(nn.Module):
    """The model as a function of tensors, in a fixed order, that returns one tensor."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self.traced = model
        self.names = tuple(names)
        self.training = False  # eval() would reach into the caller's model

    def forward(self, *tensors: Tensor) -> Tensor:
        logits: Tensor = self.traced(**dict(zip(self.names, tensors, strict=True))).logits
        return logits


def trace(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[str, Mapping[int, str]],
    *,
    opset: int,
) -> ir.Model:
    """Export a model as a flat, clean graph with the inputs of `inputs` and one output, `logits`.

    Parameters and buffers keep name, layout and memory: the graph reads the tensors of `model`, so
    save it before you merge or train on. Those on the meta device have a shape and no value.

    Args:
        model: In eval mode; its forward takes `inputs` by name and returns an object with `logits`.
        inputs: An example. An axis of length 1 would be taken for a fixed one, so none may be.
        axes: Names of the axes that vary, by input and position: `{"input_ids": {0: "batch"}}`.
        opset: Version of the ONNX operators.

    Raises:
        ValueError: The model is in train mode, or the example has an axis of length 1 that varies.
    """
    if model.training:
        raise ValueError("trace a model in eval mode: call eval() first")
    short = [name for name in axes if any(inputs[name].shape[axis] < 2 for axis in axes[name])]
    if short:
        raise ValueError(f"an axis that varies has length 1 in the example of {', '.join(short)}")
    with torch.no_grad(), _quiet(), observe(model) as seen:
        program = torch.onnx.export(
            _Logits(model, inputs),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={"tensors": tuple(dict(axes.get(name, {})) for name in inputs)},
            opset_version=opset,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        if program is None or program.exported_program is None:
            raise RuntimeError("torch.onnx.export returned no program")
        flat: ir.Model = program.model
        names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        names |= {name for name, _ in model.named_buffers(remove_duplicate=False)}
        record(flat, inside="traced", parameters=names)
        for value in flat.graph.initializers.values():
            if getattr(getattr(value.const_value, "raw", None), "is_meta", False):
                value.const_value = None  # there is nothing to read
        clean(flat)
    lengths = {
        symbol: inputs[name].shape[axis]
        for name, named in axes.items()
        for axis, symbol in named.items()
    }
    flat.graph.meta["graft.arguments"] = Arguments(
        lengths, seen, operands(program.exported_program)
    )
    return flat


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to itself; what it raises still comes through."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
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
