"""How each kind of group looks from outside: a layer of PEFT, a block, a layer, mere steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import onnx_ir as ir

from pipeline.export.graph.folding.captions import FORMULAS, Captions
from pipeline.export.graph.folding.names import adapter_title, formal_name, formal_name_in_adapter
from pipeline.export.graph.folding.outline import Outline
from pipeline.export.graph.folding.tree import Tree
from pipeline.export.graph.scopes import Scope, is_adapter, scopes_of
from pipeline.export.graph.tracing.arguments import Arguments

__all__ = ["Outlines"]

_MAGNITUDE = "lora_magnitude_vector"
"""What DoRA has and LoRA has not; PEFT gives both one class."""
_ATTENTION = "aten.scaled_dot_product_attention.default"
_NOWHERE = Scope("", "")


class Outlines:
    """Knows the names and the numbers of everything in one picture."""

    def __init__(
        self,
        tree: Tree,
        captions: Captions,
        arguments: Arguments,
        parents: Mapping[Scope, tuple[Scope, ...]],
    ) -> None:
        self._tree = tree
        self._captions = captions
        self._arguments = arguments
        self._parents = parents
        self._counts: Counter[tuple[object, ...]] = Counter()

    def adapter(self, scope: Scope, weights: Collection[str]) -> Outline:
        """Outline a layer of PEFT that reads weights of these names."""
        name, title = self._tree.name(scope.path), adapter_title(scope)
        if any(_MAGNITUDE in weight for weight in weights):
            title = title.replace("Lora", "Dora", 1)
        numbers = self._captions.numbers(name)
        return replace(
            self.shared(title, scope),
            domain="peft",
            doc=FORMULAS.get(title, f"{scope.type}: a frozen layer and its adapter"),
            formal=partial(formal_name_in_adapter, path=scope.path, adapter=self._captions.adapter),
            attributes=numbers,
            live="scaling" if "scaling" in numbers else "",
            told=partial(self._captions.adapted, scope),
        )

    def changed(self, scope: Scope, how: str) -> Outline:
        """Outline a layer that looks like any other, and was trained all the same."""
        outline = self.shared(f"{how}{scope.class_name}", scope)
        return replace(outline, domain="peft", told=partial(self._captions.adapted, scope))

    def trained(self, scope: Scope, inside: Scope) -> Outline:
        """Outline PEFT's wrapper around a module that trains in full.

        Args:
            scope: The wrapper.
            inside: The module.
        """
        return replace(
            self.shared(f"Trained{inside.class_name}", scope),
            domain="peft",
            doc=f"{inside.type}: trained in full and kept with the adapter",
            told=partial(self._captions.trained, inside),
        )

    def part(self, scope: Scope) -> Outline:
        """Outline a module that is folded only because there is no room for what is in it."""
        around = self._parents[scope]
        if any(is_adapter(other) for other in around):
            return self.shared(scope.class_name, scope)
        return self.own(f"{scope.class_name}{self._ending(around)}", scope)

    def steps(self, scope: Scope) -> Outline:
        """Outline some of a module's own steps, for the same reason."""
        around = (*self._parents[scope], scope)
        outline = replace(self.own(f"Steps{self._ending(around)}", _NOWHERE), parents=around)
        name = f"{self._tree.label(scope)}/Steps_{self._count('steps', scope)}"
        return replace(outline, name=name)

    def glue(self, title: str) -> Outline:
        """Outline steps that belong to no module but those around the blocks."""
        number = self._count("glue", title)
        return self.own(title if number == 1 else f"{title}_{number}", _NOWHERE)

    def attention(self, around: tuple[Scope, ...], operands: Mapping[str, str | None]) -> Outline:
        """Outline a call of scaled dot product attention.

        Args:
            around: The modules that call it.
            operands: By name of a value that enters: the parameter that it is. The empty name
                stands for values that the clean-up replaced.
        """
        last = around[-1] if around else _NOWHERE
        before = self._count("attention", around) - 1
        number = f"_{before}" if before else ""
        path = ".".join(filter(None, [last.path, f"scaled_dot_product_attention{number}"]))
        outline = self.shared("SDPA", Scope(path, _ATTENTION, last.call))
        return replace(outline, parents=around, argument=partial(_operand, operands))

    def _count(self, *what: object) -> int:
        self._counts[what] += 1
        return self._counts[what]

    def _ending(self, around: tuple[Scope, ...]) -> str:
        """Return the number of the innermost block around, as it stands behind its class."""
        blocks = [scope for scope in around if scope in self._tree.blocks]
        return "".join(self._tree.blocks[s].removeprefix(s.class_name) for s in blocks[-1:])

    def shared(self, title: str, scope: Scope) -> Outline:
        """Outline a node whose inside is like that of others: its weights show on the outside."""
        return Outline(
            domain="nn",
            op_type=title,
            name=self._tree.label(scope),
            module=self._tree.name(scope.path),
            path=scope.path,
            parents=self._parents.get(scope, ()),
            shared=True,
            doc=FORMULAS.get(title, scope.type),
            formal=partial(formal_name, path=scope.path),
            told=partial(self._captions.module, scope),
        )

    def own(self, title: str, scope: Scope) -> Outline:
        """Outline a node with an inside of its own, where its weights show."""
        return Outline(
            domain="nn",
            op_type=title,
            name=self._tree.label(scope) if scope.path else title,
            module=self._tree.name(scope.path) if scope.path else title,
            path=scope.path,
            parents=self._parents.get(scope, ()),
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


def _operand(operands: Mapping[str, str | None], value: ir.Value) -> str | None:
    return operands.get(value.name or "", operands.get(""))
