"""Which nodes of the view graph stand out, in which colour.

Netron draws a node as `<g id="node-name-NAME">` and gives a function no colour of its own, so a
style sheet that knows the names can colour them and no script has to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Mark", "marks", "style_sheet"]

_DOMAIN = "peft"
_TRAINED = "Trained"
"""Operators of the domain that start with this are modules trained in full, not adapters."""

# White text on each has a contrast of at least 5:1 (WCAG asks for 4.5:1).
_ADAPTER, _WHOLE, _BLOCK = "#c2410c", "#a21caf", "#1d4ed8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Nodes that get one colour, and what the legend says about it."""

    text: str
    colour: str
    """`#rrggbb`, the fill of the title bar."""
    nodes: tuple[str, ...]
    """Their names, sorted; never empty."""


def marks(model: ModelProto) -> tuple[Mark, ...]:
    """Return what stands out in `model`: adapters, modules trained in full, blocks around them."""
    functions = {(each.domain, each.name): each for each in model.functions}
    holders: dict[tuple[str, str], bool] = {}

    def holds_changes(node: NodeProto) -> bool:
        key = (node.domain, node.op_type)
        if key not in holders:
            holders[key] = key in functions and any(
                inner.domain == _DOMAIN or holds_changes(inner) for inner in functions[key].node
            )
        return holders[key]

    adapters, whole, blocks = set[str](), set[str](), set[str]()
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            if node.domain == _DOMAIN:
                (whole if node.op_type.startswith(_TRAINED) else adapters).add(node.name)
            elif holds_changes(node):
                blocks.add(node.name)
    inside = "adapters" if adapters else "trained modules"
    found = (
        (f"adapter ({len(adapters)})", _ADAPTER, adapters),
        (f"trained in full ({len(whole)})", _WHOLE, whole),
        (f"block with {inside} inside: click ƒ", _BLOCK, blocks),
    )
    return tuple(
        Mark(text=text, colour=colour, nodes=tuple(sorted(nodes)))
        for text, colour, nodes in found
        if nodes
    )


def style_sheet(found: Iterable[Mark]) -> str:
    """Return the rules that paint the nodes."""
    return "".join(
        f"g.graph-node:is(\n{_ids(mark)}\n) > g.node-item:not(:hover) > path"
        f" {{ fill: {mark.colour}; }}\n"
        for mark in found
    )


def _ids(mark: Mark) -> str:
    return ",\n".join(f'[id="node-name-{_escaped(name)}"]' for name in mark.nodes)


def _escaped(name: str) -> str:
    """Return `name` as the inside of a CSS string.

    Source: CSS Syntax Module Level 3, section 4.3.7, an escaped code point.
    """
    return re.sub(r"[^\w./:-]", lambda match: f"\\{ord(match[0]):x} ", name)
