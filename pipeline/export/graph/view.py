"""The picture: which groups of nodes become one node, and how each of them is labelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import onnx_ir as ir
from onnx_ir.passes import common

from pipeline.export.graph.arguments import Arguments
from pipeline.export.graph.captions import FORMULAS, Captions
from pipeline.export.graph.fold import Folder
from pipeline.export.graph.glue import connected, glue_of
from pipeline.export.graph.names import adapter_title, formal_name, formal_name_in_adapter
from pipeline.export.graph.order import convex_parts
from pipeline.export.graph.outline import Outline
from pipeline.export.graph.scopes import Scope, call_of, is_parameter, scopes_of
from pipeline.export.graph.sizes import size_of
from pipeline.export.graph.tree import is_adapter, is_trained, plant
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
        self._members: dict[Scope, dict[ir.Node, None]] = defaultdict(dict)
        self._steps = 0
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
                self._fold(self._members[scope], self._adapter(scope, around))
        self._attention()
        deepest = sorted(self._parents.items(), key=lambda item: len(item[1]), reverse=True)
        for scope, around in deepest:
            outline = self._module(scope, around)
            if outline is not None:
                self._fit(scope)
                self._fold(self._members[scope], outline)
        seen: Counter[str] = Counter()
        for title, group in list(glue_of(self._graph, self._tree)):
            seen[title] += 1
            name = title if seen[title] == 1 else f"{title}_{seen[title]}"
            self._contract(group, self._own(name, Scope("", title), ()))
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
                    self._fold(self._members[child], self._part(child))
            if sum(map(self._drawn, members)) >= before and not self._fold_steps(scope):
                return

    def _fold_steps(self, scope: Scope) -> bool:
        """Fold the longest run of a module's own steps, as computing a position is; tell if any."""
        own = [node for node in self._members[scope] if not node.domain]
        own = [node for node in own if scopes_of(node)[-1:] == (scope,)]
        parts = convex_parts(list(self._graph), own) if own else []
        runs = [run for part in parts for run in connected(part)]
        longest = max(runs, key=len, default=[])[: _MOST // 2]
        if len(longest) < _FEW:
            return False
        self._steps += 1
        around = (*self._parents[scope], scope)
        outline = self._own(f"Steps_{self._steps}", Scope("", "steps"), around)
        self._fold(longest, replace(outline, name=f"{self._tree.label(scope)}/Steps_{self._steps}"))
        return True

    def _drawn(self, node: ir.Node) -> int:
        """Count the nodes that one node is inside a function: constants and sizes come with it."""
        if node.domain:
            # A chain of blocks is one thing to look at, however long it is.
            return 0 if node.op_type in self._chain else 1
        read = [value for value in node.inputs if value is not None]
        constants = sum(value.is_initializer() and not is_parameter(value) for value in read)
        return 1 + constants + 2 * sum(size_of(value) is not None for value in read)

    def _part(self, scope: Scope) -> Outline:
        """Outline a module that is folded only because there is no room for what is in it."""
        around = self._parents[scope]
        if any(is_adapter(other) for other in around):
            return self._shared(scope.class_name, scope, around)
        ends = [
            self._tree.blocks[other].removeprefix(other.class_name)
            for other in around
            if other in self._tree.blocks
        ]
        return self._own(f"{scope.class_name}{''.join(ends[-1:])}", scope, around)

    def _adapter(self, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        name, title = self._tree.name(scope.path), adapter_title(scope)
        numbers = self._captions.numbers(name)
        return replace(
            self._shared(title, scope, around),
            domain="peft",
            doc=FORMULAS.get(title, f"{scope.type}: a frozen layer and its adapter"),
            formal=partial(formal_name_in_adapter, path=scope.path, adapter=self._captions.adapter),
            attributes=numbers,
            live="scaling" if "scaling" in numbers else "",
            told=partial(self._captions.adapted, scope),
        )

    def _module(self, scope: Scope, around: tuple[Scope, ...]) -> Outline | None:
        tree, members = self._tree, self._members[scope]
        if not members or any(is_trained(other) or is_adapter(other) for other in around):
            return None
        if is_trained(scope):
            return self._trained(scope, around)
        changed = self._captions.changed(tree.name(scope.path))
        if scope in tree.leaves and changed:
            return self._changed(scope, around, changed)
        if len(members) < 2:  # an operator that does all of it says as much
            if scope in tree.leaves:
                (only,) = members
                only.name = tree.label(scope)
            return None
        if scope in tree.blocks:
            return self._own(tree.blocks[scope], scope, around)
        if scope in tree.containers:
            return self._own(scope.class_name, scope, around)
        if scope in tree.leaves:
            return self._shared(scope.class_name, scope, around)
        return None

    def _changed(self, scope: Scope, around: tuple[Scope, ...], how: str) -> Outline:
        """Outline a layer that looks like any other, and was trained all the same."""
        outline = self._shared(f"{how}{scope.class_name}", scope, around)
        return replace(outline, domain="peft", told=partial(self._captions.adapted, scope))

    def _trained(self, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        stacks = (scopes_of(node)[len(around) + 1 :] for node in self._members[scope])
        inside = next((stack[0] for stack in stacks if stack), scope)
        return replace(
            self._shared(f"Trained{inside.class_name}", scope, around),
            domain="peft",
            doc=f"{inside.type}: trained in full and kept with the adapter",
            told=partial(self._captions.trained, inside),
        )

    def _attention(self) -> None:
        calls: dict[tuple[tuple[Scope, ...], str], list[ir.Node]] = defaultdict(list)
        for node in self._graph:
            name, target = call_of(node) or ("", "")
            if target == _ATTENTION:
                calls[scopes_of(node), name].append(node)
        seen: Counter[tuple[Scope, ...]] = Counter()
        for (around, name), group in calls.items():
            last = around[-1] if around else Scope("", "")
            number = f"_{seen[around]}" if seen[around] else ""
            seen[around] += 1
            path = ".".join(filter(None, [last.path, f"scaled_dot_product_attention{number}"]))
            outline = self._shared("SDPA", Scope(path, _ATTENTION, last.call), around)
            operands = self._arguments.calls.get(name, {})
            if len(group) > 1:
                entering = {value.name for node in group for value in node.inputs if value}
                rest = [role for operand, role in operands.items() if operand not in entering]
                argument = partial(_operand, operands, rest[0] if len(rest) == 1 else None)
                self._fold(group, replace(outline, argument=argument))

    def _shared(self, title: str, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        """Outline a node whose inside is like that of others: its weights show on the outside."""
        return Outline(
            domain="nn",
            op_type=title,
            name=self._tree.label(scope),
            module=self._tree.name(scope.path),
            path=scope.path,
            parents=around,
            shared=True,
            doc=FORMULAS.get(title, scope.type),
            formal=partial(formal_name, path=scope.path),
            told=partial(self._captions.module, scope),
        )

    def _own(self, title: str, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        """Outline a node with an inside of its own, where its weights show."""
        return Outline(
            domain="nn",
            op_type=title,
            name=self._tree.label(scope) if scope.path else title,
            module=self._tree.name(scope.path) if scope.path else title,
            path=scope.path,
            parents=around,
            shared=False,
            doc=scope.type,
            argument=partial(self._argument, scope.path),
            output=partial(self._output, scope),
            told=partial(self._captions.block, scope) if scope.path else lambda _: {},
        )

    def _argument(self, path: str, value: ir.Value) -> str | None:
        return value.name if value.is_graph_input() else self._arguments.name(path, value)

    def _output(self, scope: Scope, value: ir.Value) -> str:
        """Name a value that leaves a module after what the next module calls it."""
        if value.is_graph_output():
            return value.name or "output"
        for use in value.uses():
            for other in scopes_of(use.node):
                name = self._arguments.name(other.path, value)
                if name is not None and not other.holds(scope.path):
                    return name
        return "output"

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


def _operand(operands: Mapping[str, str], rest: str | None, value: ir.Value) -> str | None:
    """Name an operand; `rest` is the one whose value the clean-up replaced by an equal one."""
    return operands.get(value.name or "", rest)
