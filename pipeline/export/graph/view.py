"""The picture: which groups of nodes become one node, and how each of them is labelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import onnx_ir as ir
from onnx_ir.passes import common

from pipeline.placement import Placement
from pipeline.export.graph.arguments import Arguments
from pipeline.export.graph.captions import FORMULAS, Captions
from pipeline.export.graph.fold import Folder
from pipeline.export.graph.glue import glue_of
from pipeline.export.graph.names import adapter_title, formal_name, formal_name_in_adapter
from pipeline.export.graph.order import convex_parts
from pipeline.export.graph.outline import Outline
from pipeline.export.graph.scopes import Scope, call_of, scopes_of
from pipeline.export.graph.tree import is_adapter, is_trained, plant

__all__ = ["fold"]

_ATTENTION = "aten.scaled_dot_product_attention.default"


def fold(flat: ir.Model, placement: Placement, *, title: str, facts: Mapping[str, str]) -> ir.Model:
    """Return a copy of a traced model in which adapters, layers and blocks are local functions.

    It has the same inputs, outputs and weights and computes the same. A graph with control flow
    (If, Loop) comes back labelled but flat: the bodies of these may read any value in it.

    Args:
        flat: From `trace`; not edited. Both models share their tensors.
        placement: Which modules carry an adapter, and the parameters of each.
        title: Name of the graph.
        facts: What else to say of the model, shown as it is. `peft.lora_dropout` is said of each
            adapter too; `peft.adapter` is the name of the adapter, if that is not `default`.
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
        self._members: dict[Scope, dict[ir.Node, None]] = defaultdict(dict)
        for node in model.graph:
            paths = [self._tree.name(scope.path) for scope in scopes_of(node)[-1:]]
            node.name = "/".join(filter(None, [*paths, node.op_type]))
            self._enter(node)

    def draw(self) -> None:
        """Fold all that has a part in the picture, the innermost modules first."""
        parents = {
            scope: stack[:place]
            for stack in dict.fromkeys(scopes_of(node) for node in self._graph)
            for place, scope in enumerate(stack)
        }
        for scope, around in parents.items():
            if is_adapter(scope) and not any(is_adapter(other) for other in around):
                self._fold(self._members[scope], self._adapter(scope, around))
        self._attention()
        for scope, around in sorted(parents.items(), key=lambda item: len(item[1]), reverse=True):
            outline = self._module(scope, around)
            if outline is not None:
                self._fold(self._members[scope], outline)
        seen: Counter[str] = Counter()
        for title, group in list(glue_of(self._graph, self._tree)):
            seen[title] += 1
            name = title if seen[title] == 1 else f"{title}_{seen[title]}"
            self._contract(group, self._own(name, Scope("", title), ()))

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
            metadata=self._captions.adapted(scope, name),
        )

    def _module(self, scope: Scope, around: tuple[Scope, ...]) -> Outline | None:
        tree, members = self._tree, self._members[scope]
        if is_trained(scope) and members:
            return self._trained(scope, around)
        if len(members) < 2:  # an operator that does all of it says as much
            return None
        if scope in tree.blocks:
            return self._own(tree.blocks[scope], scope, around)
        if scope in tree.containers:
            return self._own(scope.class_name, scope, around)
        if scope in tree.leaves and not any(is_trained(other) for other in around[-1:]):
            return self._shared(scope.class_name, scope, around)
        return None

    def _trained(self, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        stacks = (scopes_of(node)[len(around) + 1 :] for node in self._members[scope])
        inside = next((stack[0] for stack in stacks if stack), scope)
        told = self._captions.module(inside, self._tree.name(scope.path))
        return replace(
            self._shared(f"Trained{inside.class_name}", scope, around),
            domain="peft",
            doc=f"{inside.type}: trained in full and kept with the adapter",
            metadata={**told, "peft.trained": "in full", "peft.adapter": self._captions.adapter},
        )

    def _attention(self) -> None:
        calls: dict[tuple[tuple[Scope, ...], str], list[ir.Node]] = defaultdict(list)
        for node in self._graph:
            name, target = call_of(node) or ("", "")
            if target == _ATTENTION:
                calls[scopes_of(node), name].append(node)
        for (around, name), group in calls.items():
            path = ".".join(filter(None, [*(scope.path for scope in around[-1:]), name]))
            outline = self._shared("SDPA", Scope(path, _ATTENTION), around)
            operands = self._arguments.calls.get(name, {})
            if len(group) > 1:
                entering = {value.name for node in group for value in node.inputs if value}
                rest = [role for operand, role in operands.items() if operand not in entering]
                argument = partial(_operand, operands, rest[0] if len(rest) == 1 else None)
                self._fold(group, replace(outline, argument=argument))

    def _shared(self, title: str, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        """Outline a node whose inside is like that of others: its weights show on the outside."""
        name = self._tree.name(scope.path)
        return Outline(
            domain="nn",
            op_type=title,
            name=name,
            path=scope.path,
            parents=around,
            shared=True,
            doc=FORMULAS.get(title, scope.type),
            formal=partial(formal_name, path=scope.path),
            metadata=self._captions.module(scope, name),
        )

    def _own(self, title: str, scope: Scope, around: tuple[Scope, ...]) -> Outline:
        """Outline a node with an inside of its own, where its weights show."""
        name = self._tree.name(scope.path) if scope.path else title
        return Outline(
            domain="nn",
            op_type=title,
            name=name,
            path=scope.path,
            parents=around,
            shared=False,
            doc=scope.type,
            argument=partial(self._argument, scope.path),
            metadata=self._captions.block(scope, name) if scope.path else {},
        )

    def _argument(self, path: str, value: ir.Value) -> str | None:
        return value.name if value.is_graph_input() else self._arguments.name(path, value)

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
