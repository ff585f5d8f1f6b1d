"""Where each node of a traced graph came from: the torch modules around it and the call it is.

The exporter writes this into metadata that would end up in the file, together with stack traces.
We keep what folding needs in `meta`, which onnx_ir copies along and never saves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
from torch import fx
from torch.export import ExportedProgram

__all__ = [
    "Scope",
    "call_of",
    "infer",
    "is_adapter",
    "is_parameter",
    "is_trained",
    "move_into",
    "record",
    "scopes_in",
    "scopes_of",
]

_SCOPES = "graft.scopes"
_CALL = "graft.call"
_PARAMETER = "graft.parameter"
_ADAPTERS = ("peft.tuners.", "pipeline.partial.bottleneck.")
"""Where the classes of adapters lie; the third part of each name is their kind."""
_SLICE = re.compile(r"\.slice\((\w+), -?\w+, (\w+)\)\.(\d+)")
"""How torch.export writes `layers[:2][0]` in a model with shared modules."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One module that was running when a node was traced."""

    path: str
    """Dotted torch path; empty for the traced model itself."""
    type: str
    """Class with its module: `peft.tuners.lora.layer.Linear`."""
    call: int = 0
    """How often the module had run before: a module may run many times, as ALBERT's layer does."""

    @property
    def class_name(self) -> str:
        """The class alone: `Linear`."""
        return self.type.rsplit(".", 1)[-1]

    def holds(self, path: str) -> bool:
        """Tell whether `path` names this module or one below it."""
        return not self.path or path == self.path or path.startswith(f"{self.path}.")


def scopes_of(node: ir.Node) -> tuple[Scope, ...]:
    """Return the modules around a node, the traced model first."""
    scopes: tuple[Scope, ...] = node.meta.get(_SCOPES, ())
    return scopes


def call_of(node: ir.Node) -> tuple[str, str] | None:
    """Return name and target of the torch call behind a node: `linear_3`, `aten.linear.default`."""
    call: tuple[str, str] | None = node.meta.get(_CALL)
    return call


def is_adapter(scope: Scope) -> bool:
    """Tell a layer that PEFT, or we, put around or in place of a layer of the base model."""
    return scope.type.startswith(_ADAPTERS) and not scope.class_name.endswith("Model")


def is_trained(scope: Scope) -> bool:
    """Tell PEFT's wrapper around a module that is trained in full."""
    return scope.type.startswith("peft.utils.")


def is_parameter(value: ir.Value) -> bool:
    """Tell a parameter or buffer of the model from a constant that the exporter made."""
    return bool(value.meta.get(_PARAMETER, False))


def move_into(node: ir.Node, scopes: tuple[Scope, ...]) -> None:
    """Say that a node we made stands where these modules were running."""
    node.meta[_SCOPES] = scopes


def record(
    model: ir.Model, program: ExportedProgram, *, inside: str, parameters: Mapping[str, str]
) -> None:
    """Move the origin of every node out of the metadata, and drop the rest of the metadata.

    Args:
        model: Fresh from the exporter; edited.
        program: What the exporter made it from: it alone knows the number of a call.
        inside: Attribute of the exported wrapper that holds the model proper. Its name is dropped
            from every path.
        parameters: Names, after that, of all parameters and buffers, and the name to give each.
    """
    stacks = {node.name: scopes_in(node, inside) for node in program.graph.nodes}
    for value in list(model.graph.initializers.values()):
        name = (value.name or "").removeprefix(f"{inside}.")
        if name in parameters:
            value.meta[_PARAMETER] = True
            value.name = parameters[name]
    for node in model.graph:
        told = node.metadata_props
        if "pkg.torch.onnx.name_scopes" in told:
            *paths, call = ast.literal_eval(told["pkg.torch.onnx.name_scopes"])
            *types, target = ast.literal_eval(told["pkg.torch.onnx.class_hierarchy"])
            node.meta[_CALL] = (call, target)
            node.meta[_SCOPES] = stacks.get(call) or tuple(
                Scope(_plain(path, inside), type_)
                for path, type_ in zip(paths, types, strict=True)
                if path == inside or path.startswith(f"{inside}.")
            )
    _clear(model)


def _plain(path: str, inside: str) -> str:
    """Return a path without the wrapper's name, and with the number of a module in a slice."""
    inner = path.removeprefix(inside).removeprefix(".")
    return _SLICE.sub(
        lambda cut: f".{_number(cut[1], 0) + int(cut[3]) * _number(cut[2], 1)}", inner
    )


def _number(text: str, default: int) -> int:
    return default if text == "None" else int(text)


def scopes_in(node: fx.Node, inside: str) -> tuple[Scope, ...]:
    """Return the modules around a node of a traced program, in the terms of `record`."""
    scopes = []
    for key, (path, type_) in node.meta.get("nn_module_stack", {}).items():
        if path == inside or path.startswith(f"{inside}."):
            _, _, call = key.partition("@")
            name = type_ if isinstance(type_, str) else f"{type_.__module__}.{type_.__qualname__}"
            scopes.append(Scope(_plain(path, inside), name, int(call or 0)))
    return tuple(scopes)


def infer(graph: ir.Graph) -> None:
    """Give nodes that a clean-up made the modules that all their readers share."""
    for node in reversed(graph):
        if _SCOPES not in node.meta:
            readers = [use.node for output in node.outputs for use in output.uses()]
            node.meta[_SCOPES] = _shared(scopes_of(reader) for reader in readers)


def _shared(stacks: Iterable[tuple[Scope, ...]]) -> tuple[Scope, ...]:
    common: list[Scope] = []
    for level in zip(*stacks, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return tuple(common)


def _clear(model: ir.Model) -> None:
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
