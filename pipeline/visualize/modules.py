"""Every module as the pages show it: its own numbers, those of all below it, and where it is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import StageError
from pipeline.placement import Placement

if TYPE_CHECKING:
    from pipeline.placement import Module

T = TypeVar("T")

__all__ = ["Place", "Sums", "described", "places", "read_placement", "sums"]


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


def read_placement(file: Path) -> Placement:
    """Return what `Placement.save` wrote.

    Raises:
        StageError: It cannot be read.
    """
    try:
        return Placement.read(file)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StageError(
            f"visualize: cannot read {file} ({error}); run the stage export again"
        ) from error


def places(placement: Placement) -> dict[str, Place]:
    """Return the place of every module.

    A block is the outermost numbered module around it that has modules inside, and of whose class
    there are others: `encoder.layer.3`, but not the one layer of an unlike list.
    """
    names = [module.name.split(".") for module in placement.modules]
    around = {".".join(parts[:end]) for parts in names for end in range(1, len(parts))}
    numbered = [
        module
        for module in placement.modules
        if module.name in around and module.name.rpartition(".")[2].isdecimal()
    ]
    kinds = Counter(module.type for module in numbered)
    blocks = {module.name for module in numbered if kinds[module.type] > 1}
    return {module.name: _place(module.name, blocks) for module in placement.modules}


def _place(name: str, blocks: set[str]) -> Place:
    parts = name.split(".")
    for end in range(1, len(parts)):
        if (block := ".".join(parts[:end])) in blocks:
            return Place(block=block, part=".".join(parts[end:]))
    return Place(block="", part=name)


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
    whole, where = sums(placement), places(placement)
    found: list[dict[str, object]] = []
    for module in placement.modules:
        told = {key: value for key, value in asdict(module).items() if value not in (None, 0)}
        found.append({
            **told,
            "change": module.change,
            **asdict(where[module.name]),
            "node": _nearest(module.name, nodes),
            "sums": asdict(whole[module.name]),
        })  # fmt: skip
    return found


def _nearest(name: str, nodes: Collection[str]) -> str | None:
    while name and name not in nodes:
        name = name.rpartition(".")[0]
    return name or None
