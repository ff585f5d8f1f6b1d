"""An exported program as a module: its layers are torch's own, so adapters find them.

`torch.export.unflatten` keeps parameters in modules without a type, and PEFT adapts types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StageError
from pipeline.own.archive import read_values
from pipeline.own.layers import head_of, layer_of, layers_of, made_layer
from pipeline.own.operators import is_check, operator_named

__all__ = ["Program", "program_values"]


@dataclass(frozen=True, slots=True)
class _Step:
    call: Any
    """An operator, or the path of a layer."""
    arguments: Sequence[Any]
    made: Any


@dataclass(frozen=True, slots=True)
class _Inside:
    """What the program did inside of one module."""

    path: str
    steps: list[_Step | _Inside]


class Part(nn.Module):
    """A module of the program that is no layer of torch's: it holds what was its own."""

    def forward(self, run: Callable[[nn.Module], None]) -> None:
        """Let the program do what it did in here, with the parameters of this very module."""
        run(self)


class Program(nn.Module):
    """Calls the operators of a program one by one, inside the modules it was made of.

    A linear layer or a convolution with its own parameters is one of torch under the parameters'
    name. What was exported in eval mode stays so: batch norm uses its saved statistics, and dropout
    is not there, also in train mode.
    """

    def __init__(self, program: Mapping[str, Any], num_labels: int) -> None:
        """Build it with random weights.

        Args:
            program: As `read_program` gives it.
            num_labels: Outputs of the head, if the last operator is a linear layer.

        Raises:
            StageError: It calls an operator that is not supported.
        """
        super().__init__()
        self._input, self._output = str(program["input"]), str(program["output"])
        self._held: dict[str, str] = dict(program["values"])
        self._types: Mapping[str, str] = program["types"]
        layers, (heads, _) = layers_of(program), head_of(program)
        for node in program["nodes"]:  # in this order, since that of a table may be lost in JSON
            path = layer_of(node, program)
            if path not in layers:
                self._part(node[3] if node[3] not in layers else "")
            elif node is layers[path]:
                above, _, last = path.rpartition(".")
                outputs = num_labels if path in heads else None
                self._part(above).add_module(last, made_layer(node, program, outputs))
        for name, told in program["tensors"].items():
            if name.rpartition(".")[0] not in layers:
                self._hold(name, told)
        self._steps = self._nested(program, layers)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return logits (rows, labels) of images (rows, channels, height, width)."""
        values: dict[str, Any] = {self._input: pixel_values}
        self._run(self._steps, values, "", self)
        logits: Tensor = values[self._output]
        return logits

    def _run(
        self, steps: Sequence[_Step | _Inside], values: dict[str, Any], path: str, part: nn.Module
    ) -> None:
        """Do the steps inside of `part`, which is the module at `path` or what stands for it."""
        for step in steps:
            if isinstance(step, _Inside):
                self.get_submodule(step.path)(partial(self._run, step.steps, values, step.path))
                continue
            given = [(name, self._given(each, values, path, part)) for name, each in step.arguments]
            call = self.get_submodule(step.call) if isinstance(step.call, str) else step.call
            made = call(
                *(each for name, each in given if name is None),
                **{name: each for name, each in given if name is not None},
            )
            _keep(step.made, made, values)

    def _given(self, told: Any, values: Mapping[str, Any], path: str, part: nn.Module) -> Any:
        """Return an argument: a value, a tensor of a module, or a constant."""
        if isinstance(told, list):
            return [self._given(each, values, path, part) for each in told]
        if not isinstance(told, Mapping):
            return told
        if "device" in told:
            return values[self._input].device
        if "torch" in told:
            return getattr(torch, told["torch"])
        name = told["value"]
        if name not in self._held:
            return values[name]
        above, _, last = self._held[name].rpartition(".")
        return getattr(part if above == path else self.get_submodule(above), last)

    def _nested(self, program: Mapping[str, Any], layers: Mapping[str, Any]) -> list[Any]:
        """Return the steps in the modules that they were done in."""
        root = _Inside("", [])
        for node in program["nodes"]:
            if is_check(node[0]):
                continue
            path = layer_of(node, program)
            if path in layers:
                arguments = [each for each in node[1] if each[0] in (None, "input")][:1]
                step = _Step(path, [[None, arguments[0][1]]], node[2])
                scope = str(path).rpartition(".")[0]
            else:
                step, scope = _Step(operator_named(node[0]), node[1], node[2]), node[3]
            inside = root
            for above in _paths(scope) if self._is_part(scope) else ():
                last = inside.steps[-1] if inside.steps else None
                if not isinstance(last, _Inside) or last.path != above:
                    last = _Inside(above, [])
                    inside.steps.append(last)
                inside = last
            inside.steps.append(step)
        return root.steps

    def _is_part(self, scope: str) -> bool:
        """Whether there is, or can be, a module of ours at each path of a scope."""
        return all(isinstance(self._part(path), Part) for path in _paths(scope))

    def _part(self, path: str) -> nn.Module:
        """Return the module at a path, made if it is not there, under its class's old name."""
        part: nn.Module = self
        for above in _paths(path):
            name = above.rpartition(".")[2]
            if name not in part._modules:
                kind = self._types.get(above, Part.__name__)
                part.add_module(name, type(kind, (Part,), {})())
            part = part.get_submodule(name)
        return part

    def _hold(self, name: str, told: Mapping[str, Any]) -> None:
        above, _, last = name.rpartition(".")
        value = torch.zeros(told["shape"], dtype=getattr(torch, told["dtype"]))
        if told["kind"] == "parameter":
            self._part(above).register_parameter(
                last, nn.Parameter(value, value.is_floating_point())
            )
        else:
            self._part(above).register_buffer(last, value)


def program_values(file: Path, where: str = "model.path") -> dict[str, Tensor]:
    """Return the tensors of a `.pt2` by name.

    Raises:
        StageError: One is a pickle, is not there, or is not float32.
    """
    found = {}
    for name, (held, how) in read_values(file, where).items():
        dtype = getattr(torch, how["dtype"])
        if dtype.is_floating_point and dtype != torch.float32:
            raise StageError(
                f"{where}: {file}: {name} is {how['dtype']}; export the model in float32"
            )
        flat = torch.frombuffer(bytearray(held), dtype=dtype) if held else torch.empty(0).to(dtype)
        try:
            found[name] = flat.as_strided(how["shape"], how["strides"], how["offset"]).contiguous()
        except RuntimeError as error:
            raise StageError(
                f"{where}: {file}: the tensor {name} is cut off; get it again"
            ) from error
    return found


def _paths(scope: str) -> list[str]:
    """Return `a`, `a.b`, `a.b.c` of `a.b.c`; nothing of the root."""
    parts = scope.split(".") if scope else []
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _keep(names: Any, made: Any, values: dict[str, Any]) -> None:
    if isinstance(names, str):
        values[names] = made
    elif isinstance(names, list):
        for name, each in zip(names, made, strict=True):
            _keep(name, each, values)
