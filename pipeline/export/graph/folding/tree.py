"""The module tree as the trace shows it, and the part each module plays in the picture.

No list of model classes: PEFT's layers are known by their package, blocks by being repeated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import onnx_ir as ir

from pipeline.export.graph.scopes import Scope, is_adapter, scopes_of

__all__ = ["Tree", "base_name", "plant"]

_INSERTED = re.compile(r"\.(?:modules_to_save\.[^.]+|base_layer)(?=\.|$)")


def base_name(path: str, home: str) -> str:
    """Return the path that a module has in the base model; PEFT's own modules keep theirs.

    Args:
        path: Of the module in the traced model.
        home: Of the base model in it.
    """
    inside = path == home or path.startswith(f"{home}.") if home else True
    return _INSERTED.sub("", path[len(home) :].removeprefix(".") if inside else path)


@dataclass(frozen=True, slots=True)
class Tree:
    """The modules of one trace."""

    home: str
    """Path of the base model, inside the wrappers of PEFT."""
    blocks: dict[Scope, str]
    """Modules repeated in a list, and a name for each: `BertLayer_3`."""
    spine: frozenset[Scope]
    """The modules around the outermost blocks."""
    containers: frozenset[Scope]
    """Modules directly on the spine that hold others but no block: embeddings, a pooler."""
    leaves: frozenset[Scope]
    """Modules that call no other module."""

    def name(self, path: str) -> str:
        """Return the path that a module has in the base model."""
        return base_name(path, self.home)

    def label(self, scope: Scope) -> str:
        """Return the same with the number of the call, from the second on: `layer@1`."""
        return self.name(scope.path) + (f"@{scope.call}" if scope.call else "")


def plant(graph: ir.Graph) -> Tree:
    """Derive the tree from the scopes of a flat graph."""
    nodes: Iterable[ir.Node] = graph
    stacks = list(dict.fromkeys(scopes_of(node) for node in nodes))
    scopes = list(dict.fromkeys(scope for stack in stacks for scope in stack))
    inner = {scope for stack in stacks for scope in stack[:-1]}
    repeated: dict[tuple[str, str], list[Scope]] = defaultdict(list)
    for scope in scopes:
        siblings, _, last = scope.path.rpartition(".")
        if last.isdigit() and scope in inner and not is_adapter(scope):
            repeated[siblings, scope.type].append(scope)
    blocks = [scope for alike in repeated.values() if len(alike) > 1 for scope in alike]
    known = set(blocks)
    spine: set[Scope] = set()
    beside: set[Scope] = set()
    for stack in stacks:
        first = next((place for place, scope in enumerate(stack) if scope in known), None)
        if first is not None:
            spine.update(stack[:first])
    for stack in stacks:
        for parent, scope in pairwise(stack):
            if parent in spine and scope not in spine | known:
                beside.add(scope)
    home: str = graph.meta["graft.home"]
    return Tree(
        home=home,
        blocks=_name_blocks(blocks, home),
        spine=frozenset(spine),
        containers=frozenset(beside & inner),
        leaves=frozenset(scope for scope in scopes if scope not in inner and scope.path),
    )


def _name_blocks(blocks: list[Scope], home: str) -> dict[Scope, str]:
    """Give each block the shortest ending that keeps it apart from the others of its class."""
    names: dict[Scope, str] = {}
    for class_name in dict.fromkeys(scope.class_name for scope in blocks):
        alike = [scope for scope in blocks if scope.class_name == class_name]
        parts = {scope: scope.path.removeprefix(home).strip(".").split(".") for scope in alike}
        shared = set.intersection(*(set(each) for each in parts.values()))
        apart = {
            scope: [part for part in each if part.isdigit() or part not in shared]
            for scope, each in parts.items()
        }
        for way in (
            {scope: each[-1] for scope, each in parts.items()},
            {scope: str(scope.call) for scope in alike},
            {scope: "_".join(each) for scope, each in apart.items()},
            {scope: "_".join([*each, str(scope.call)]) for scope, each in apart.items()},
        ):
            if len(set(way.values())) == len(alike):
                names |= {scope: f"{class_name}_{end}" for scope, end in way.items()}
                break
    return names
