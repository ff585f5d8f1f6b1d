"""Which nodes of a group may become one node without closing a cycle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import onnx_ir as ir

__all__ = ["convex_parts", "producers", "window"]


def producers(node: ir.Node) -> list[ir.Node]:
    """Return the nodes that make what `node` reads."""
    made = (value.producer() for value in node.inputs if value is not None)
    return [node for node in made if node is not None]


def window(nodes: Sequence[ir.Node], group: Iterable[ir.Node]) -> list[ir.Node]:
    """Cut `nodes`, which are in topological order, down to what lies between members of `group`."""
    members = set(group)
    places = [place for place, node in enumerate(nodes) if node in members]
    return list(nodes[places[0] : places[-1] + 1])


def convex_parts(
    nodes: Sequence[ir.Node],
    group: Iterable[ir.Node],
    may_join: Callable[[ir.Node], bool] = lambda _: False,
) -> list[list[ir.Node]]:
    """Split a group into parts, in order, such that no path leaves a part and comes back to it.

    Args:
        nodes: The whole graph in topological order.
        group: Nodes that should become one.
        may_join: Whether a node outside that lies between members may be taken in to save a split.
    """
    members = set(group)
    while True:
        between = window(nodes, members)
        visits = _visits(between, members)
        strangers = _on_the_way(between, members, visits)
        if not strangers or not all(may_join(node) for node in strangers):
            break
        members |= strangers
    inside = [node for node in between if node in members]
    _delay(inside, visits)
    return [
        [node for node in inside if visits[node] == visit]
        for visit in sorted({visits[node] for node in inside})
    ]


def _visits(between: Sequence[ir.Node], members: set[ir.Node]) -> dict[ir.Node, int]:
    """Count, for members and what follows them, how often a path to the node left the group."""
    visits: dict[ir.Node, int] = {}
    for node in between:
        inside = node in members
        seen = [
            visits[before] + (before in members and not inside)
            for before in producers(node)
            if before in visits
        ]
        if inside or seen:
            visits[node] = max(seen, default=0)
    return visits


def _on_the_way(
    between: Sequence[ir.Node], members: set[ir.Node], visits: dict[ir.Node, int]
) -> set[ir.Node]:
    """Return the nodes outside the group that a path from member to member passes."""
    strangers: set[ir.Node] = set()
    leads_back: set[ir.Node] = set()
    for node in reversed(between):
        if node in members or node in leads_back:
            leads_back.update(producers(node))
        if node in leads_back and node not in members and node in visits:
            strangers.add(node)
    return strangers


def _delay(inside: Sequence[ir.Node], visits: dict[ir.Node, int]) -> None:
    """Move nodes that depend on no other node to the part that reads them.

    The transposed weight of a module that runs twice would else be an output of its first run.
    """
    members = set(inside)
    early: set[ir.Node] = set()
    for node in inside:
        if all(before in early for before in producers(node)):
            early.add(node)
    for node in reversed(inside):
        readers = {use.node for output in node.outputs for use in output.uses()}
        if node in early and readers and readers <= members:
            visits[node] = min(visits[reader] for reader in readers)
