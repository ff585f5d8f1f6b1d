"""Copies of a block's call and of the functions in it, with the names of another block."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import onnx_ir as ir

__all__ = ["Blocks", "by_number"]

Key = TypeVar("Key", bound=Hashable)
Identifier = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of one list in a folded graph."""

    model: ir.Model
    path: str
    """Torch path of the list."""
    home: str
    """Its path in the base model, as nodes are named."""
    copies: dict[Identifier, Identifier] = field(default_factory=dict)
    """By function made here: the one that it is a copy of."""

    def clone(
        self, call: ir.Node, pattern: int, number: int, inputs: Sequence[ir.Value | None]
    ) -> ir.Node:
        """Return a call of a copy of the function of `call`, for the block of another number."""
        class_name = call.metadata_props.get("pytorch.class", "").rpartition(".")[2]
        ending = call.op_type.removeprefix(class_name)
        return _Copy(self, pattern, number, ending).node(call, inputs)

    def functions(self, call: ir.Node, number: int) -> list[ir.Function]:
        """Return the functions that are of one block alone, those inside of others first."""
        function = self.own(call, number)
        if function is None:
            return []
        inside = (self.functions(node, number) for node in function)
        return [*(inner for functions in inside for inner in functions), function]

    def own(self, call: ir.Node, number: int) -> ir.Function | None:
        """Return the function of a call if names of this block are in it, which no other shares."""
        function = self.model.functions.get(call.op_identifier())
        if function is None:
            return None
        names = [*(value.name for value in function.inputs), *(node.name for node in function)]
        homes = (self.home, self.path)
        is_own = any(_number(home, name) == number for home in homes for name in names)
        return function if is_own else None

    def describe(self, call: ir.Node, number: int) -> tuple[object, ...]:
        """Describe what a block computes: equal for two that differ in the values of weights."""
        function = self.own(call, number)
        if function is None:
            return call.op_identifier()
        places: dict[ir.Value | None, object] = {None: None}
        for place, formal in enumerate(function.inputs):
            name = formal.name or ""
            is_weight = _number(self.path, name) == number
            places[formal] = _moved(self.path, name, number, -1) if is_weight else place
        nodes = []
        for node in function:
            read = tuple(places[value] for value in node.inputs)
            attributes = tuple(sorted(map(_content, node.attributes.values())))
            nodes.append((*self.describe(node, number), read, attributes))
            for output in node.outputs:
                places[output] = (len(nodes), output.index())
        return (*nodes, tuple(places[value] for value in function.outputs))

    def order(self, calls: Mapping[int, ir.Node]) -> None:
        """Put the functions where a trace of the whole model has them."""
        held = dict(self.model.functions)
        numbers = {
            function.identifier(): number
            for number, call in calls.items()
            for function in self.functions(call, number)
        }
        self.model.functions.clear()
        for identifier in by_number(held, numbers, self.copies):
            self.model.functions[identifier] = held[identifier]


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy in the making."""

    blocks: Blocks
    pattern: int
    number: int
    ending: str
    """What tells the functions of the pattern from those of other blocks: `_3`, `_encoder_3`."""

    def node(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Node:
        function = self.blocks.own(node, self.pattern)
        if function is not None:
            function = self._function(function)
        name = self._moved(self.blocks.home, node.name)
        copy = ir.Node(
            node.domain,
            node.op_type if function is None else function.name,
            inputs,
            node.attributes.values(),
            outputs=[_like(output, output.name) for output in node.outputs],
            name=name,
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        copy.meta.update(node.meta)
        told: Callable[[str], Mapping[str, str]] | None = node.meta.get("graft.told")
        if told is not None:
            copy.metadata_props.clear()
            copy.metadata_props.update(told((name or "").partition("#")[0]))
        return copy

    def _function(self, function: ir.Function) -> ir.Function:
        copy = ir.Function(
            function.domain,
            self._title(function),
            graph=self._body(function),
            attributes=list(function.attributes.values()),
        )
        copy.graph.name = copy.name
        copy.metadata_props.update(function.metadata_props)
        self.blocks.model.functions[copy.identifier()] = copy
        self.blocks.copies[copy.identifier()] = function.identifier()
        return copy

    def _body(self, function: ir.Function) -> ir.Graph:
        values: dict[ir.Value | None, ir.Value | None] = {None: None}
        inputs = [
            _like(formal, self._moved(self.blocks.path, formal.name)) for formal in function.inputs
        ]
        values.update(zip(function.inputs, inputs, strict=True))
        nodes = []
        for node in function:
            copy = self.node(node, [values[value] for value in node.inputs])
            values.update(zip(node.outputs, copy.outputs, strict=True))
            nodes.append(copy)
        return ir.Graph(
            inputs,
            [value for output in function.outputs if (value := values[output]) is not None],
            nodes=nodes,
            opset_imports=dict(function.opset_imports),
            doc_string=function.doc_string,
        )

    def _title(self, function: ir.Function) -> str:
        """Name a copy: `BertLayer_5` after `BertLayer_1`, and count on if that is taken."""
        ending = self.ending.removesuffix(str(self.pattern)) + str(self.number)
        title = re.sub(rf"{re.escape(self.ending)}(?=_|$)", ending, function.name, count=1)
        free, count = title, 1
        while (function.domain, free, "") in self.blocks.model.functions:
            count += 1
            free = f"{title}_{count}"
        return free

    def _moved(self, home: str, name: str | None) -> str | None:
        return _moved(home, name, self.pattern, self.number)


def _number(home: str, name: str | None) -> int | None:
    """Return the number of the block of `home` that a name is in."""
    if name is None or not name.startswith(f"{home}."):
        return None
    digits = re.match(r"\d+(?=[./#@]|$)", name[len(home) + 1 :])
    return int(digits[0]) if digits else None


def _moved(home: str, name: str | None, old: int, new: int) -> str | None:
    if name is None or _number(home, name) != old:
        return name
    return f"{home}.{new}{name[len(f'{home}.{old}') :]}"


def _like(value: ir.Value, name: str | None) -> ir.Value:
    shape = value.shape.copy() if value.shape is not None else None
    copy = ir.Value(name=name, type=value.type, shape=shape)
    copy.meta.update(value.meta)
    return copy


def _content(attribute: ir.Attr) -> tuple[str, str]:
    if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
        tensor = attribute.as_tensor()
        return attribute.name, f"{tensor.dtype} {tensor.shape} {tensor.tobytes().hex()}"
    return attribute.name, f"{attribute.type} {attribute.ref_attr_name or repr(attribute.value)}"


def by_number(
    keys: Iterable[Key], numbers: Mapping[Key, int], copies: Mapping[Key, Key]
) -> list[Key]:
    """Sort what belongs to blocks by their numbers, and leave the rest in its place.

    Args:
        keys: In the order of the shortened graph, copies behind what they are made from.
        numbers: Those of a block, with its number.
        copies: Those that were made, and what each is a copy of.
    """
    places: dict[Key, tuple[int, int, int]] = {}
    segment, before = 0, False
    for place, key in enumerate(keys):
        if key in copies:
            segment_, _, place_ = places[copies[key]]
            places[key] = (segment_, numbers[key], place_)
            continue
        segment += (key in numbers) != before
        before = key in numbers
        places[key] = (segment, numbers.get(key, 0), place)
    return sorted(places, key=places.__getitem__)
