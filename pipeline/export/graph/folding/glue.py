"""The nodes between the modules: masks and positions before the blocks, a choice after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from pipeline.export.graph.folding.order import convex_parts, producers
from pipeline.export.graph.folding.tree import Tree
from pipeline.export.graph.scopes import scopes_of
from pipeline.export.graph.sizes import size_of

__all__ = ["connected", "glue_of"]


def glue_of(graph: ir.Graph, tree: Tree) -> Iterator[tuple[str, list[ir.Node]]]:
    """Find groups of nodes that belong to no module but those around the blocks, and name them."""
    loose = [node for node in graph if _is_glue(node, tree)] if tree.blocks else []
    parts = convex_parts(list(graph), loose) if loose else []
    behind = _behind_blocks(graph, tree)
    for group in [group for part in parts for group in connected(part)]:
        measured = any(value and size_of(value) for node in group for value in node.inputs)
        if len(group) > 1 or measured:
            yield _title(group, behind), group


def _is_glue(node: ir.Node, tree: Tree) -> bool:
    measures = node.op_type == "Shape" and all(
        size_of(reader) is not None
        for output in node.outputs
        for use in output.uses()
        for reader in use.node.outputs
    )
    if node.domain or measures or any(size_of(output) is not None for output in node.outputs):
        return False  # a size is measured again where it is needed
    return all(scope in tree.spine for scope in scopes_of(node))


def connected(part: Sequence[ir.Node]) -> list[list[ir.Node]]:
    """Split nodes, in topological order, into groups that share no edge."""
    groups: list[list[ir.Node]] = []
    for node in part:
        before = set(producers(node))
        touched = [group for group in groups if not before.isdisjoint(group)]
        groups = [group for group in groups if before.isdisjoint(group)]
        groups.append([*(old for group in touched for old in group), node])
    return groups


def _behind_blocks(graph: ir.Graph, tree: Tree) -> set[ir.Node]:
    names = set(tree.blocks.values())
    behind: set[ir.Node] = set()
    for node in graph:
        if node.op_type in names or any(before in behind for before in producers(node)):
            behind.add(node)
    return behind


def _title(group: Sequence[ir.Node], behind: set[ir.Node]) -> str:
    read = [value for node in group for value in node.inputs if value is not None]
    if any(value.is_graph_input() and "mask" in (value.name or "") for value in read):
        return "AttentionMask"
    if any(node in behind for node in group):
        return "Readout"
    return "Positions" if any(node.op_type == "Range" for node in group) else "Setup"
