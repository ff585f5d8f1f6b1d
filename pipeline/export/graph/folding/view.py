"""The picture: which groups of nodes become one node, and how each of them is labelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import accumulate

import onnx_ir as ir
from onnx_ir.passes import common

from pipeline.export.graph.folding.captions import Captions
from pipeline.export.graph.folding.fold import Folder
from pipeline.export.graph.folding.glue import connected, glue_of
from pipeline.export.graph.folding.order import convex_parts
from pipeline.export.graph.folding.outline import Outline
from pipeline.export.graph.folding.outlines import Outlines
from pipeline.export.graph.folding.tree import plant
from pipeline.export.graph.scopes import (
    Scope,
    call_of,
    is_adapter,
    is_parameter,
    is_trained,
    scopes_of,
)
from pipeline.export.graph.sizes import size_of
from pipeline.export.graph.tracing.arguments import Arguments
from pipeline.placement import Placement

__all__ = ["fold"]

_MOST = 60
"""Nodes, at most, that a person can take in at once."""
_FEW = 5
"""Steps, at least, that are worth a node of their own."""
_ATTENTION = "aten.scaled_dot_product_attention.default"


def fold(flat: ir.Model, placement: Placement, *, title: str, facts: Mapping[str, str]) -> ir.Model:
    """Return a copy of a traced model in which adapters, layers and blocks are local functions.

    It has the same inputs, outputs and weights and computes the same. A graph with control flow
    (If, Loop) comes back labelled but flat: the bodies of these may read any value in it.

    Args:
        flat: From `trace`; not edited. Both models share their tensors.
        placement: Which modules carry an adapter, and the parameters of each.
        title: Name of the graph.
        facts: What else to say of the model, shown as it is. `peft.adapter` is the name of the
            adapter, if that is not `default`.
    """
    model = flat.clone()
    captions = Captions(placement, facts)
    attributes = (attribute for node in model.graph for attribute in node.attributes.values())
    if not any(a.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS} for a in attributes):
        _View(model, captions).draw()
        ir.passes.Sequential(common.RemoveUnusedNodesPass(), common.NameFixPass())(model)
    model.graph.name = title
    model.producer_name = "graft-pipeline"
    model.metadata_props.update(captions.totals())
    return model


class _View:
    """One picture in the making."""

    def __init__(self, model: ir.Model, captions: Captions) -> None:
        self._graph = model.graph
        self._folder = Folder(model)
        self._tree = plant(model.graph)
        self._captions = captions
        self._arguments: Arguments = model.graph.meta["graft.arguments"]
        self._parents = {
            scope: stack[:place]
            for stack in dict.fromkeys(scopes_of(node) for node in model.graph)
            for place, scope in enumerate(stack)
        }
        self._outlines = Outlines(self._tree, captions, self._arguments, self._parents)
        self._members: dict[Scope, dict[ir.Node, None]] = defaultdict(dict)
        self._chain = {
            name
            for scope, name in self._tree.blocks.items()
            if self._tree.spine.issuperset(self._parents[scope])
        }
        for node in model.graph:
            paths = [self._tree.label(scope) for scope in scopes_of(node)[-1:]]
            node.name = "/".join(filter(None, [*paths, node.op_type]))
            self._enter(node)

    def draw(self) -> None:
        """Fold all that has a part in the picture, the innermost modules first."""
        for scope, around in self._parents.items():
            if is_adapter(scope) and not any(is_adapter(other) for other in around):
                self._fit(scope)
                members = self._members[scope]
                read = {value.name or "" for node in members for value in node.inputs if value}
                self._fold(members, self._outlines.adapter(scope, read))
        self._attention()
        deepest = sorted(self._parents.items(), key=lambda item: len(item[1]), reverse=True)
        for scope, around in deepest:
            outline = self._outline(scope, around)
            if outline is not None:
                self._fit(scope)
                self._fold(self._members[scope], outline)
        for title, group in list(glue_of(self._graph, self._tree)):
            self._contract(group, self._outlines.glue(title))
        for scope in list(self._parents)[:1]:
            self._fit(scope)

    def _fit(self, scope: Scope) -> None:
        """Fold what is inside a module until a person can take it in, the largest part first."""
        members = self._members[scope]
        while (before := sum(map(self._drawn, members))) > _MOST:
            inside: Counter[Scope] = Counter()
            for node in members:
                for child in scopes_of(node)[len(self._parents[scope]) + 1 :][:1]:
                    inside[child] += self._drawn(node)
            for child, size in inside.most_common(1):
                self._fit(child)
                if size < before and len(self._members[child]) > 1:
                    self._fold(self._members[child], self._outlines.part(child))
            if sum(map(self._drawn, members)) >= before and not self._fold_steps(scope):
                return

    def _fold_steps(self, scope: Scope) -> bool:
        """Fold the longest run of a module's own steps, as computing a position is; tell if any."""
        own = [node for node in self._members[scope] if not node.domain]
        own = [node for node in own if scopes_of(node)[-1:] == (scope,)]
        parts = convex_parts(list(self._graph), own) if own else []
        runs = [run for part in parts for run in connected(part)]
        longest = max(runs, key=len, default=[])
        sizes = list(accumulate(map(self._drawn, longest)))
        together = [node for node, size in zip(longest, sizes, strict=True) if size <= _MOST]
        if len(together) < _FEW:
            return False
        self._fold(together, self._outlines.steps(scope))
        return True

    def _drawn(self, node: ir.Node) -> int:
        """Count the nodes that one node is inside a function: constants and sizes come with it."""
        if node.domain:
            # A chain of blocks is one thing to look at, however long it is.
            return 0 if node.op_type in self._chain else 1
        read = [value for value in node.inputs if value is not None]
        constants = sum(value.is_initializer() and not is_parameter(value) for value in read)
        return 1 + constants + 2 * sum(size_of(value) is not None for value in read)

    def _outline(self, scope: Scope, around: tuple[Scope, ...]) -> Outline | None:
        """Outline a module that has a part in the picture."""
        tree, members = self._tree, self._members[scope]
        if not members or any(is_trained(other) or is_adapter(other) for other in around):
            return None
        if is_trained(scope):
            stacks = (scopes_of(node)[len(around) + 1 :] for node in members)
            inside = next((stack[0] for stack in stacks if stack), scope)
            return self._outlines.trained(scope, inside)
        changed = self._captions.changed(tree.name(scope.path))
        if scope in tree.leaves and changed:
            return self._outlines.changed(scope, changed)
        if len(members) < 2:  # an operator that does all of it says as much
            if scope in tree.leaves:
                (only,) = members
                only.name = tree.label(scope)
            return None
        if scope in tree.blocks:
            return self._outlines.own(tree.blocks[scope], scope)
        if scope in tree.containers:
            return self._outlines.own(scope.class_name, scope)
        if scope in tree.leaves:
            return self._outlines.shared(scope.class_name, scope)
        return None

    def _attention(self) -> None:
        calls: dict[tuple[tuple[Scope, ...], str], list[ir.Node]] = defaultdict(list)
        for node in self._graph:
            name, target = call_of(node) or ("", "")
            if target == _ATTENTION:
                calls[scopes_of(node), name].append(node)
        for (around, name), group in calls.items():
            entering = {value.name for node in group for value in node.inputs if value}
            operands: dict[str, str | None] = {**self._arguments.calls.get(name, {})}
            rest = [role for operand, role in operands.items() if operand not in entering]
            outline = self._outlines.attention(
                around, {**operands, "": rest[0] if len(rest) == 1 else None}
            )
            if len(group) > 1:
                self._fold(group, outline)

    def _fold(self, group: Collection[ir.Node], outline: Outline) -> None:
        around = outline.parents
        parts = convex_parts(
            list(self._graph),
            group,
            # Nodes that belong to a module around this one can move into it, calls stay whole.
            lambda node: not node.domain and scopes_of(node) == around[: len(scopes_of(node))],
        )
        for number, part in enumerate(parts, start=1):
            name = outline.name if len(parts) == 1 else f"{outline.name}#{number}"
            self._contract(part, replace(outline, name=name))

    def _contract(self, group: Collection[ir.Node], outline: Outline) -> None:
        call = self._folder.contract(group, outline)
        for node in group:
            for scope in scopes_of(node):
                self._members[scope].pop(node, None)
        self._enter(call)

    def _enter(self, node: ir.Node) -> None:
        for scope in scopes_of(node):
            self._members[scope][node] = None
