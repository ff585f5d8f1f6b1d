"""See what each block of a list is called with, without the cost of running them all.

Blocks that are alike may still be used differently: a vision tower hands one mask to most of its
blocks and another to every eighth. So the whole model runs once on shapes alone, and only the first
block of each kind computes; the others return outputs like the first one's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

__all__ = ["uses"]

_HANDED_ON = "handed on"
"""Where a value comes from that a block makes for the next one alone."""


def uses(
    model: nn.Module,
    lists: Mapping[str, Sequence[nn.Module]],
    kinds: Mapping[str, Sequence[object]],
    sample: Mapping[str, Tensor],
    numbers: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, list[object] | None]:
    """Describe, for each block of each list, where its arguments come from.

    Args:
        model: In eval mode, with all of its blocks or some.
        lists: The blocks by the path of their list.
        kinds: For each of them something equal for blocks with equal insides.
        sample: Arguments of the model's forward.
        numbers: What to call the blocks of each list, if they are some of more.

    Returns:
        Descriptions equal for blocks that are used alike; None for a list whose blocks run other
        than once each, or whose outputs something besides the blocks reads on the way.
    """
    runs = {path: _Run(list(kinds[path])) for path in lists}
    called = numbers or {path: range(len(blocks)) for path, blocks in lists.items()}
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.no_grad(), fake, ExitStack() as undo:
        given = {name: fake.from_tensor(value) for name, value in sample.items()}
        for path, blocks in lists.items():
            for number, block in enumerate(blocks):
                undo.enter_context(_instead(block, runs[path].stand_in(number, block.forward)))
        undo.enter_context(_Outside(list(runs.values())))
        model(**given)
    return {path: run.told(called[path]) for path, run in runs.items()}


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a block returns."""

    leaves: list[Any]
    passed: dict[int, int]
    """Which of these are arguments handed through, and which argument."""
    structure: pytree.TreeSpec

    @staticmethod
    def of(result: object, given: Sequence[Any]) -> _Shown:
        leaves, structure = pytree.tree_flatten(result)
        places = {id(leaf): place for place, leaf in enumerate(given) if isinstance(leaf, Tensor)}
        passed = {n: places[id(leaf)] for n, leaf in enumerate(leaves) if id(leaf) in places}
        return _Shown(leaves, passed, structure)

    def again(self, given: Sequence[Any]) -> tuple[dict[int, Tensor], Any]:
        """Return tensors like the new ones, by place, and them with the rest as one result."""
        made = {
            place: torch.empty_like(leaf)
            for place, leaf in enumerate(self.leaves)
            if isinstance(leaf, Tensor) and place not in self.passed
        }
        leaves = [
            given[self.passed[place]] if place in self.passed else made.get(place, leaf)
            for place, leaf in enumerate(self.leaves)
        ]
        return made, pytree.tree_unflatten(leaves, self.structure)


@dataclass(slots=True)
class _Run:
    """What was seen of one list."""

    kinds: list[object]
    calls: dict[int, list[Any]] = field(default_factory=dict)
    """By block: what it was called with, flat. Kept, so that no other object gets its id."""
    made: dict[int, tuple[int, int, Tensor]] = field(default_factory=dict)
    """By id: which block made a tensor, and as which of its outputs."""
    shown: dict[object, _Shown] = field(default_factory=dict)
    """By kind: what its first block returned."""
    inside: int = 0
    regular: bool = True

    def stand_in(self, number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return a forward that notes its arguments and computes if it is the first of its kind."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.regular &= number == len(self.calls) and not self.inside
            given, structure = pytree.tree_flatten((args, dict(sorted(kwargs.items()))))
            self.calls[number] = [structure, *given]
            like = (self.kinds[number], structure)
            self.inside += 1
            try:
                if like not in self.shown:
                    self.shown[like] = _Shown.of(forward(*args, **kwargs), given)
                made, result = self.shown[like].again(given)
            finally:
                self.inside -= 1
            self.made |= {id(value): (number, place, value) for place, value in made.items()}
            return result

        return noted

    def read_outside(self, value: Tensor) -> None:
        """Note that something that is no block reads a value."""
        number, _, _ = self.made.get(id(value), (len(self.kinds) - 1, 0, value))
        self.regular &= number == len(self.kinds) - 1

    def told(self, numbers: Sequence[int]) -> list[object] | None:
        """Describe the calls of all blocks, or None if they are no chain."""
        if not self.regular or len(self.calls) < len(self.kinds):
            return None
        readers = defaultdict(set)
        for number, leaves in self.calls.items():
            for leaf in leaves:
                readers[id(leaf)].add(number)
        known: dict[int, int] = {}
        described: list[list[object]] = []
        for number, leaves in self.calls.items():
            described.append([])
            for leaf in leaves:
                origin, place, _ = self.made.get(id(leaf), (None, 0, leaf))
                told: object
                if origin is not None and readers[id(leaf)] == {origin + 1}:
                    told = (_HANDED_ON, place)
                elif origin is not None:
                    told = (numbers[origin], place)
                elif isinstance(leaf, bool | int | float | str | pytree.TreeSpec | None):
                    told = "number" if type(leaf) is int and leaf == number else leaf
                else:
                    told = (type(leaf), known.setdefault(id(leaf), len(known)))
                described[-1].append(told)
        first, second = described[0], described[1]
        if len(first) == len(second):  # the first reads from elsewhere what others are handed on
            described[0] = [
                after if _is_handed(after) and isinstance(leaf, Tensor) else before
                for before, after, leaf in zip(first, second, self.calls[0], strict=True)
            ]
        return [tuple(call) for call in described]


class _Outside(TorchFunctionMode):
    """Notes what is computed from the outputs of blocks outside of any."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        super().__init__()
        self._runs = runs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(run.inside for run in self._runs) and isinstance(result, Tensor | tuple):
            for value in pytree.tree_leaves((args, kwargs)):
                for run in self._runs if isinstance(value, Tensor) else ():
                    run.read_outside(value)
        return result


def _is_handed(told: object) -> bool:
    return isinstance(told, tuple) and told[0] == _HANDED_ON


@contextmanager
def _instead(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module run another forward."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
