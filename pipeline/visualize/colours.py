"""Which nodes of a graph stand out, in which colour.

Netron gives a function no colour of its own, but draws a node as `<g id="node-name-NAME">`: the
page adds style rules by name, and no script of Netron's has to change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from pipeline.placement import Placement

__all__ = [
    "ADAPTED",
    "BASE",
    "RUNS",
    "UNTOUCHED",
    "Ink",
    "Mark",
    "marks",
    "roles",
]

_DOMAIN = "peft"
_TRAINED = "Trained"
"""Operators of the domain that start with this are modules trained in full, not adapters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ink:
    """A colour for the modules that play one role."""

    role: str
    """As in `roles`; `block` stands for the nodes around the others."""
    text: str
    """What the legend says; `{count}` is the number of modules."""
    colour: str
    """`#rrggbb`. White text on it has a contrast of at least 4.5:1, which WCAG asks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Nodes that get one colour, and what the legend says about it."""

    text: str
    colour: str
    """`#rrggbb`, the fill of the title bar."""
    nodes: tuple[str, ...]
    """Their names, sorted; never empty."""


_BLOCK = "#1d4ed8"
UNTOUCHED = Ink(role="untouched", text="untouched", colour="#6b7280")
"""For every other node, on a page that compares."""

ADAPTED = (
    Ink(role="adapted", text="adapter ({count})", colour="#c2410c"),
    Ink(role="trained", text="trained in full ({count})", colour="#a21caf"),
    Ink(role="bias", text="bias trained ({count})", colour="#4d7c0f"),
    Ink(role="block", text="block with {inside} inside: click ƒ", colour=_BLOCK),
)
"""For the adapted model."""
BASE = (
    Ink(role="adapted", text="gets an adapter ({count})", colour="#c2410c"),
    Ink(role="trained", text="gets trained in full ({count})", colour="#a21caf"),
    Ink(role="bias", text="gets its bias trained ({count})", colour="#4d7c0f"),
    Ink(role="block", text="block that gets {inside}: click ƒ", colour=_BLOCK),
)
"""For the model before."""
RUNS = (
    Ink(role="only", text="on this side only ({count})", colour="#c2410c"),
    Ink(role="differs", text="on both, set differently ({count})", colour="#a21caf"),
    Ink(role="alike", text="on both, set alike ({count})", colour="#0f766e"),
    Ink(role="block", text="block with changes inside: click ƒ", colour=_BLOCK),
)
"""For two runs; the roles are those of `pipeline.visualize.difference`."""


def roles(placement: Placement) -> dict[str, str]:
    """Return the modules that changed, with what became of them: `Module.change`."""
    return {module.name: module.change for module in placement.modules if module.change is not None}


def marks(
    model: ModelProto, changed: Mapping[str, str], inks: Sequence[Ink] = ADAPTED
) -> tuple[Mark, ...]:
    """Return what stands out in `model`.

    Args:
        model: Of which a node is named as its module, or `MODULE/OPERATOR` inside it.
        changed: The role of each module that has one.
        inks: What to paint. Adapters that the graph itself tells of are `adapted`, even where
            `changed` does not know them.
    """
    finder = _Finder(model, changed, {ink.role for ink in inks})
    found, parts = finder.nodes(), finder.parts()
    trained = not found.keys().isdisjoint(("trained", "bias"))
    things = "trained modules" if trained and "adapted" not in found else "adapters"
    return tuple(
        Mark(
            text=ink.text.format(
                count=len({_module(name) for name in found[ink.role]}), inside=things
            ),
            colour=ink.colour,
            nodes=tuple(sorted(found[ink.role] | (parts if ink.role == "adapted" else set()))),
        )
        for ink in inks
        if found.get(ink.role)
    )


def _module(node: str) -> str:
    return node.partition("/")[0]


class _Finder:
    """Finds the role of every node of one model."""

    def __init__(
        self, model: ModelProto, changed: Mapping[str, str], known: Collection[str]
    ) -> None:
        self._graphs = (model.graph, *model.functions)
        self._functions = {(each.domain, each.name): each for each in model.functions}
        self._changed = changed
        self._known = known
        self._holds: dict[tuple[str, str], bool] = {}

    def nodes(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for graph in self._graphs:
            for node in graph.node:
                role = self._role(node)
                if role is not None:
                    found.setdefault(role, set()).add(node.name)
        return found

    def parts(self) -> set[str]:
        """Return the nodes inside of adapters that the adapter adds: `lora_A.default/MatMul`."""
        return {
            node.name
            for function in self._functions.values()
            if function.domain == _DOMAIN and not function.name.startswith(_TRAINED)
            for node in function.node
            if "/" in node.name and not node.name.startswith("base_layer")
        }

    def _role(self, node: NodeProto) -> str | None:
        own = self._own_role(node)
        # What is drawn as one thing is one thing; any other node that changed is the inside of
        # a block that can be opened.
        if own is not None and (node.domain == _DOMAIN or not self._holds_changes(node)):
            return own
        return "block" if self._holds_changes(node) else None

    def _own_role(self, node: NodeProto) -> str | None:
        if (role := self._changed.get(_module(node.name))) is not None:
            return role
        if node.domain != _DOMAIN:
            return None
        role = "trained" if node.op_type.startswith(_TRAINED) else "adapted"
        return role if role in self._known else None

    def _holds_changes(self, node: NodeProto) -> bool:
        key = (node.domain, node.op_type)
        if key not in self._holds:
            self._holds[key] = False  # for a function that holds itself, which ONNX forbids
            self._holds[key] = key in self._functions and any(
                self._own_role(inner) is not None or self._holds_changes(inner)
                for inner in self._functions[key].node
            )
        return self._holds[key]
