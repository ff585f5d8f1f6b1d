"""Write the blocks that were left out of a trace from those that were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.tensor_adapters import TorchTensor

from pipeline.export.graph.repeating.clone import Blocks, by_number
from pipeline.export.graph.repeating.plan import Chain, Plan

__all__ = ["Irregular", "lengthen"]


class Irregular(Exception):  # noqa: N818 - no error: what is done then is right, and slower
    """Blocks do not form a chain of which two show the others: the model must be traced whole."""


def lengthen(folded: ir.Model, plan: Plan) -> None:
    """Write the blocks that `plan` left out, as a trace of the whole model would have them.

    Args:
        folded: From `fold`, of a trace that `plan.rename` went over; edited.
        plan: From `shorten`.

    Raises:
        Irregular: A block is not one node, something besides the next block reads what it makes,
            or two blocks of a kind differ. The graph is then half edited: do not use it.
    """
    for chain in plan.chains:
        _Chained(folded, chain, plan).write()


@dataclass(frozen=True, slots=True)
class _Carried:
    """An input that the block before makes."""

    place: int
    """Among the outputs of that block that only the next one reads."""


@dataclass(frozen=True, slots=True)
class _Fixed:
    """An input that one certain block makes: T5's first computes the position bias of all."""

    number: int
    output: int


class _Use(NamedTuple):
    """Where a value is read."""

    node: ir.Node
    place: int


_Source = _Carried | _Fixed | ir.Value | None


class _Chained:
    """The blocks of one list in a folded graph."""

    def __init__(self, model: ir.Model, chain: Chain, plan: Plan) -> None:
        self._graph = model.graph
        self._chain = chain
        self._values = plan.values
        self._calls = self._find()
        first = chain.kept[0]
        name = self._calls[first].name or ""
        home = name.removesuffix(f".{first}")
        self._blocks = Blocks(model, chain.path, home)
        self._copies: dict[str, str] = {}
        self._handed_on = self._carried()
        for number, call in self._calls.items():
            if call.name != f"{home}.{number}" or self._blocks.own(call, number) is None:
                raise Irregular(f"{chain.path}.{number} is not one node: {call.name}")

    def write(self) -> None:
        """Write the missing blocks between the kept ones and behind them."""
        chain, graph = self._chain, self._graph
        self._check_readers()
        sources = self._sources()
        for pattern in sorted(set(chain.pattern) - set(chain.first)):
            self._check_pattern(chain.first[pattern], pattern, sources)
        readers = {
            value: [_Use(*use) for use in value.uses()] for value in self._handed(chain.kept[-1])
        }
        calls: list[ir.Node] = []
        for number, pattern in enumerate(chain.pattern):
            inputs = [self._input(source, number, calls) for source in sources[pattern]]
            if number == pattern:
                call = self._calls[number]
                for place, value in enumerate(inputs):
                    call.replace_input_with(place, value)
            else:
                call = self._blocks.clone(self._calls[pattern], pattern, number, inputs)
                for output in call.outputs:
                    output.name = f"{output.name}_{number}"
                graph.insert_after(calls[-1], call)
            calls.append(call)
        self._hand_over(readers, calls[-1])
        self._name_outputs(calls)
        self._order(calls)

    def _find(self) -> dict[int, ir.Node]:
        """Return the node of each kept block: the one that reads its weights."""
        found: dict[int, ir.Node] = {}
        for node in self._graph:
            for value in node.inputs:
                name = (value.name or "") if value is not None else ""
                number = self._chain.number(name) if name in self._chain.own else None
                if number is not None and found.setdefault(number, node) is not node:
                    raise Irregular(f"{self._chain.path}.{number} is more than one node")
        if len(set(found.values())) < len(self._chain.kept):
            raise Irregular(f"a block of {self._chain.path} is not a node of the outermost graph")
        return dict(sorted(found.items()))

    def _check_readers(self) -> None:
        """Refuse blocks of which a part stands outside, or whose outputs others read."""
        calls = set(self._calls.values())
        parts = tuple(f"{call.name}{end}" for call in calls for end in "./#@")
        for node in self._graph:
            if (node.name or "").startswith(parts):
                raise Irregular(f"{node.name} is a part of a block that stands beside it")
        for number in self._chain.kept[:-1]:
            for output in self._calls[number].outputs:
                if output.is_graph_output() or any(use.node not in calls for use in output.uses()):
                    raise Irregular(f"{self._calls[number].name} is read by more than blocks")

    def _sources(self) -> dict[int, list[_Source]]:
        """Say of each kept block where its inputs come from; weights and the like: themselves."""
        made: dict[ir.Value | None, _Source] = {}
        for number, call in self._calls.items():
            for output, value in enumerate(call.outputs):
                made[value] = _Fixed(number, output)
            for place, output in enumerate(self._handed_on[number]):
                made[call.outputs[output]] = _Carried(place)
        return {
            number: [made.get(value, value) for value in call.inputs]
            for number, call in self._calls.items()
        }

    def _carried(self) -> dict[int, list[int]]:
        """Return for each kept block the outputs that no block but the next one reads."""
        calls = list(self._calls.values())
        return {
            number: [
                place
                for place, value in enumerate(call.outputs)
                if all(use.node not in calls[at + 2 :] for use in value.uses())
            ]
            for at, (number, call) in enumerate(self._calls.items())
        }

    def _check_pattern(
        self, first: int, second: int, sources: Mapping[int, Sequence[_Source]]
    ) -> None:
        """Refuse a pattern whose two blocks differ, or read something made for each alone."""
        one, other = self._calls[first], self._calls[second]
        if self._blocks.describe(one, first) != self._blocks.describe(other, second):
            raise Irregular(f"{one.name} and {other.name} compute differently")
        for before, after in zip(sources[first], sources[second], strict=True):
            # The first block of all reads from elsewhere what the others are handed on.
            handed = isinstance(after, _Carried) and first == 0 and not self._is_own(before)
            weights = self._is_own(before) and self._is_own(after)
            if not (handed or weights or before == after):
                raise Irregular(f"{other.name} has an input of its own")

    def _is_own(self, source: _Source) -> bool:
        return isinstance(source, ir.Value) and source.name in self._chain.own

    def _input(self, source: _Source, number: int, calls: Sequence[ir.Node]) -> ir.Value | None:
        if isinstance(source, _Fixed):
            return calls[source.number].outputs[source.output]
        if isinstance(source, _Carried):
            kept, pattern = self._chain.kept, self._chain.pattern
            wanted = self._handed(kept[kept.index(pattern[number]) - 1])[source.place]
            made = self._handed(pattern[number - 1], calls[-1])
            if source.place >= len(made) or not _alike(made[source.place], wanted):
                raise Irregular(f"{calls[-1].name} does not make what the next block reads")
            return made[source.place]
        if source is None or not self._is_own(source):
            return source
        return self._weight(source, self._chain.moved(source.name or "", number))

    def _weight(self, like: ir.Value, name: str) -> ir.Value:
        if name == like.name:
            return like
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        tensor = None if like.const_value is None else TorchTensor(self._values[name], name=name)
        value = ir.Value(name=name, type=like.type, shape=like.shape, const_value=tensor)
        value.meta.update(like.meta)
        self._graph.initializers[name] = value
        self._copies[name] = like.name or ""
        return value

    def _handed(self, pattern: int, call: ir.Node | None = None) -> list[ir.Value]:
        """Return what a kept block, or a call like it, hands on."""
        outputs = (self._calls[pattern] if call is None else call).outputs
        return [outputs[place] for place in self._handed_on[pattern]]

    def _hand_over(self, readers: Mapping[ir.Value, Sequence[_Use]], call: ir.Node) -> None:
        """Let what read the last kept block read the last block of all."""
        made = self._handed(self._chain.pattern[-1], call)
        for place, (old, uses) in enumerate(readers.items()):
            if place >= len(made) or not _alike(old, made[place]):
                raise Irregular(f"{call.name} does not make what {self._chain.path} is read for")
            for use in uses:
                use.node.replace_input_with(use.place, made[place])
            if old.is_graph_output() and old is not made[place]:
                outputs = self._graph.outputs
                outputs[outputs.index(old)] = made[place]
                old.name, made[place].name = made[place].name, old.name

    def _name_outputs(self, calls: Sequence[ir.Node]) -> None:
        """Name outputs after who reads them: behind the last block others do than between two."""
        first, last, end = self._chain.kept[0], self._chain.kept[-1], len(calls) - 1
        if last == end:
            return
        between, behind = (
            [value.name for value in self._formal(self._calls[number], number)]
            for number in (first, last)
        )
        for number, call in enumerate(calls):
            if number == end or self._chain.pattern[number] == last:
                names = behind if number == end else between
                for value, name in zip(self._formal(call, number), names, strict=False):
                    value.name = name

    def _formal(self, call: ir.Node, number: int) -> list[ir.Value]:
        """Return the formal outputs of a block that it hands on."""
        function = self._blocks.own(call, number)
        places = self._handed_on[self._chain.pattern[number]]
        return [] if function is None else [function.outputs[place] for place in places]

    def _order(self, calls: Sequence[ir.Node]) -> None:
        """Put weights and functions where a trace of the whole model has them: by block."""
        held = dict(self._graph.initializers)
        numbers = {name: self._chain.number(name) for name in held}
        of_blocks = {name: number for name, number in numbers.items() if number is not None}
        self._graph.initializers.clear()
        for name in by_number(held, of_blocks, self._copies):
            self._graph.initializers[name] = held[name]
        self._blocks.order(dict(enumerate(calls)))


def _alike(one: ir.Value, other: ir.Value) -> bool:
    return one.type == other.type and str(one.shape) == str(other.shape)
