"""The module tree as the trace shows it, and the part each module plays in the picture.

No list of model classes: PEFT's layers are known by their package, blocks by being repeated.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import onnx_ir as ir

from pipeline.export.graph.scopes import Scope, scopes_of

__all__ = ["Tree", "is_adapter", "is_trained", "plant"]

_INSERTED = re.compile(r"\.(?:modules_to_save\.[^.]+|base_layer)(?=\.|$)")


def is_adapter(scope: Scope) -> bool:
    """Tell a layer that PEFT put around or in place of a layer of the base model."""
    return scope.type.startswith("peft.tuners.") and not scope.class_name.endswith("Model")


def is_trained(scope: Scope) -> bool:
    """Tell PEFT's wrapper around a module that is trained in full."""
    return scope.type.startswith("peft.utils.")


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
        inside = path[len(self.home) :].removeprefix(".") if self.home else path
        return _INSERTED.sub("", inside)


def plant(nodes: Iterable[ir.Node]) -> Tree:
    """Derive the tree from the scopes of a flat graph."""
    stacks = list(dict.fromkeys(scopes_of(node) for node in nodes))
    scopes = list(dict.fromkeys(scope for stack in stacks for scope in stack))
    inner = {scope for stack in stacks for scope in stack[:-1]}
    own = (scope.path for stack in stacks for scope in stack if not _is_wrapper(scope))
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
    return Tree(
        home=min(own, key=len, default=""),
        blocks=_name_blocks(blocks),
        spine=frozenset(spine),
        containers=frozenset(beside & inner),
        leaves=frozenset(scope for scope in scopes if scope not in inner and scope.path),
    )


def _is_wrapper(scope: Scope) -> bool:
    """Tell PEFT's models around a model: PeftModelForSequenceClassification, LoraModel."""
    return scope.type.startswith("peft.") and "Model" in scope.class_name


def _name_blocks(blocks: list[Scope]) -> dict[Scope, str]:
    """Give each block the shortest number that keeps it apart from the others."""
    ways = (
        lambda scope: scope.path.rpartition(".")[2],
        lambda scope: "_".join(part for part in scope.path.split(".") if part.isdigit()),
        lambda scope: scope.path.replace(".", "_"),
    )
    names: dict[Scope, str] = {}
    for way in ways:
        proposed = {
            scope: f"{scope.class_name}_{way(scope)}" for scope in blocks if scope not in names
        }
        uses = Counter(proposed.values())
        names |= {scope: name for scope, name in proposed.items() if uses[name] == 1}
    return names
