"""What was left out of a model that is traced with some of its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
from torch import Tensor

from pipeline.export.graph.scopes import Scope, move_into, scopes_of
from pipeline.export.graph.tracing.arguments import Arguments
from pipeline.export.graph.tracing.costs import Operations

__all__ = ["Chain", "Plan"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """A list of blocks, and those of them that were kept."""

    path: str
    """Torch path of the list."""
    kept: tuple[int, ...]
    """Numbers of the blocks that are traced, ascending."""
    first: tuple[int, ...]
    """By block: the first of its kind."""
    pattern: tuple[int, ...]
    """By block: the kept one that it is written from. A kept block is its own pattern."""
    own: frozenset[str]
    """Parameters and buffers of the kept blocks that no other module has, by torch name."""

    def number(self, name: str) -> int | None:
        """Return the number of the block that a torch name is in, if it is in one."""
        if not name.startswith(f"{self.path}."):
            return None
        number = name[len(self.path) + 1 :].partition(".")[0]
        return int(number) if number.isdigit() else None

    def moved(self, name: str, number: int) -> str:
        """Return a torch name in a block as it is in the block of another number."""
        _, dot, rest = name[len(self.path) + 1 :].partition(".")
        return f"{self.path}.{number}{dot}{rest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was left out of a model."""

    chains: tuple[Chain, ...]
    values: Mapping[str, Tensor]
    """Every parameter and buffer of the whole model by its torch names, tied ones by each."""

    def original(self, path: str) -> str:
        """Return the path that a module of the shortened model has in the whole one."""
        for chain in self.chains:
            number = chain.number(path)
            if number is not None:
                return chain.moved(path, chain.kept[number])
        return path

    def rename(self, flat: ir.Model) -> None:
        """Give everything in a traced graph the name that it has in the whole model.

        Args:
            flat: From `trace`, of the shortened model; edited.
        """
        if not self.chains:
            return
        renamed: dict[tuple[Scope, ...], tuple[Scope, ...]] = {}
        for node in flat.graph:
            scopes = scopes_of(node)
            if scopes not in renamed:
                renamed[scopes] = tuple(
                    replace(scope, path=self.original(scope.path)) for scope in scopes
                )
            move_into(node, renamed[scopes])
        values = list(flat.graph.initializers.values())
        flat.graph.initializers.clear()  # renamed one by one they would meet the old names
        for value in values:
            value.name = self.original(value.name or "")
            flat.graph.initializers[value.name] = value
        arguments: Arguments = flat.graph.meta["graft.arguments"]
        flat.graph.meta["graft.arguments"] = replace(
            arguments,
            tensors={self.original(path): told for path, told in arguments.tensors.items()},
        )
        operations: Operations = flat.graph.meta["graft.operations"]
        flat.graph.meta["graft.operations"] = replace(
            operations, by_module=self._everywhere(operations.by_module)
        )

    def _everywhere(self, by_module: Mapping[str, float]) -> dict[str, float]:
        """Say of each module of the whole model what is known of the one that shows it."""
        known = {self.original(path): value for path, value in by_module.items()}
        for chain in self.chains:
            for path, value in list(known.items()):
                at = chain.number(path)
                for number, pattern in enumerate(chain.pattern):
                    if pattern == at:
                        known[chain.moved(path, number)] = value
        return known
