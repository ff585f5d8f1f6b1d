"""Every module as the pages show it: its own numbers, those of all below it, and where it is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pipeline.placement import Module, Placement

T = TypeVar("T")

__all__ = ["Place", "Sums", "described", "place", "sums"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a module sits: in which of the repeated blocks, and as which part of it."""

    block: str
    """`bert.encoder.layer.3`; empty outside of blocks."""
    part: str
    """`attention.self.query`; the whole name outside of blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """A module together with all modules in it. None where no module tells."""

    adapters: int
    """Modules that carry an adapter."""
    frozen: int
    trainable: int
    flops: int | None
    adapter_flops: int | None
    update_norm: float | None
    """The root of the sum of the squares."""


def place(module: Module) -> Place:
    """Return the place that the name tells: a number in it counts blocks, the first one."""
    parts = module.name.split(".")
    for index, part in enumerate(parts):
        if part.isdecimal():
            inside = ".".join(parts[index + 1 :])
            return Place(block=".".join(parts[: index + 1]), part=inside or module.type)
    return Place(block="", part=module.name)


def sums(placement: Placement) -> dict[str, Sums]:
    """Return the sums of every module, and under the name "" those of the model."""
    below: dict[str, list[Module]] = defaultdict(list)
    for module in placement.modules:
        parts = module.name.split(".") if module.name else []
        for end in range(len(parts) + 1):
            below[".".join(parts[:end])].append(module)
    return {name: _sum(modules) for name, modules in below.items()}


def _sum(modules: list[Module]) -> Sums:
    norms = _told(each.update_norm for each in modules)
    return Sums(
        adapters=sum(each.role == "adapted" for each in modules),
        frozen=sum(each.frozen for each in modules),
        trainable=sum(each.trainable for each in modules),
        flops=_total(each.flops for each in modules),
        adapter_flops=_total(each.adapter_flops for each in modules),
        update_norm=math.hypot(*norms) if norms else None,
    )


def _told(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _total(values: Iterable[int | None]) -> int | None:
    told = _told(values)
    return sum(told) if told else None


def described(placement: Placement, nodes: Collection[str]) -> list[dict[str, object]]:
    """Return what a page knows of every module, in the model's order.

    Args:
        placement: Of the model.
        nodes: Names of the nodes of its graph. A module that is none gets the nearest around it
            as `node`, or null for the top level.
    """
    whole = sums(placement)
    found: list[dict[str, object]] = []
    for module in placement.modules:
        where = place(module)
        told = {key: value for key, value in asdict(module).items() if value not in (None, 0)}
        found.append({
            **told,
            "block": where.block,
            "part": where.part,
            "node": _nearest(module.name, nodes),
            "sums": asdict(whole[module.name]),
        })  # fmt: skip
    return found


def _nearest(name: str, nodes: Collection[str]) -> str | None:
    while name and name not in nodes:
        name = name.rpartition(".")[0]
    return name or None
