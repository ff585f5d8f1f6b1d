"""Blocks that repeat are traced twice, not eighty times.

A list of blocks is cut to the first two of every kind. The first shows how a kind starts, the
second what it reads from the block before it and what from elsewhere. `expand.lengthen` writes the
blocks that were left out from that pattern.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from pipeline.export.graph.repeating.plan import Chain, Plan
from pipeline.export.graph.repeating.signature import Block, signatures
from pipeline.export.graph.repeating.watch import uses

__all__ = ["shorten"]

_FEWEST = 3
"""Blocks, at least, of which two could show the others."""
_DEPTH = re.compile(r"(?:^|_)(?:layers?|blocks?|depth)$")
"""Names of settings that hold how many blocks there are: num_hidden_layers, n_layer, depth."""


@contextmanager
def shorten(model: nn.Module, sample: Mapping[str, Tensor]) -> Iterator[Plan]:
    """Cut the repeated blocks of a model to two of each kind, until the context ends.

    Lists inside of blocks stay whole. So does a list that has a second one beside it, or whose
    blocks all differ, or run twice, or are used by their numbers, or have readers outside the list.

    Args:
        model: In eval mode, with real weights or on the meta device. The modules that are kept are
            its own.
        sample: Arguments of its forward.
    """
    values = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    found = {path: blocks for path, blocks in _lists(model) if not _beside(model, path, blocks)}
    lists = {path: list(blocks.children()) for path, blocks in found.items()}
    settings = {path: _config(model, path) for path in lists}
    described = {
        path: signatures(path, blocks, values, _by_block(settings[path], len(blocks)))
        for path, blocks in lists.items()
    }
    kinds = {path: [block.signature for block in told] for path, told in described.items()}
    lists = {path: blocks for path, blocks in lists.items() if len(set(kinds[path])) < len(blocks)}
    used = uses(model, lists, kinds, sample) if lists else {}
    with ExitStack() as undo:
        chains = []
        for path, told in used.items():
            chain = _choose(path, described[path], told or range(len(lists[path])))
            if len(chain.kept) < len(lists[path]):
                owner = model.get_submodule(path.rpartition(".")[0])
                _cut(owner, settings[path], found[path], chain, undo)
                chains.append(chain)
        if not _as_before(model, chains, lists, kinds, used, sample):
            undo.close()
            chains = []
        yield Plan(chains=tuple(chains), values=values)


def _as_before(
    model: nn.Module,
    chains: Sequence[Chain],
    lists: Mapping[str, Sequence[nn.Module]],
    kinds: Mapping[str, Sequence[object]],
    used: Mapping[str, Sequence[object] | None],
    sample: Mapping[str, Tensor],
) -> bool:
    """Tell whether the blocks that were kept are used as they are in the whole model."""

    def kept(by_block: Mapping[str, Sequence[Any] | None]) -> dict[str, list[Any]]:
        return {
            chain.path: [(by_block[chain.path] or ())[number] for number in chain.kept]
            for chain in chains
        }

    numbers = {chain.path: chain.kept for chain in chains}
    again = uses(model, kept(lists), kept(kinds), sample, numbers) if chains else {}
    return again == kept({chain.path: used[chain.path] for chain in chains})


def _lists(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Find the outermost lists of modules that hold modules."""
    found: list[tuple[str, nn.Module]] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer, _ in found)
        if inside or not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        blocks = list(module.children())
        if len(blocks) >= _FEWEST and all(list(block.children()) for block in blocks):
            found.append((path, module))
    return found


def _config(model: nn.Module, path: str) -> object:
    """Return the config of the nearest module around a list that has one."""
    parts = path.split(".")[:-1]
    above = [model.get_submodule(".".join(parts[:depth])) for depth in range(len(parts) + 1)]
    held = [vars(module) for module in reversed(above)]
    return next((told["config"] for told in held if "config" in told), None)


def _beside(model: nn.Module, path: str, blocks: nn.Module) -> bool:
    """Tell whether something else in the module around a list is numbered as its blocks are."""
    owner = model.get_submodule(path.rpartition(".")[0])
    count = len(list(blocks.children()))
    said = (value for key, value in vars(owner).items() if not key.startswith("_"))
    lists = [
        held
        for held in (*owner.children(), *said)
        if isinstance(held, nn.ModuleList | nn.ParameterList | list | tuple)
    ]
    return any(held is not blocks and len(held) == count for held in lists)


def _by_block(settings: object, count: int) -> dict[str, list[object]]:
    """Return the settings that are given for each block: `layer_types`."""
    return {
        key: list(value)
        for key, value in (vars(settings) if settings is not None else {}).items()
        if isinstance(value, list | tuple) and len(value) == count
    }


def _choose(path: str, blocks: Sequence[Block], used: Sequence[object]) -> Chain:
    alike: dict[object, list[int]] = defaultdict(list)
    kinds = [(block.signature, use) for block, use in zip(blocks, used, strict=True)]
    for number, kind in enumerate(kinds):
        alike[kind].append(number)
    kept = sorted(number for numbers in alike.values() for number in numbers[:2])
    return Chain(
        path=path,
        kept=tuple(kept),
        first=tuple(alike[kind][0] for kind in kinds),
        pattern=tuple(
            number if number in kept else alike[kind][1] for number, kind in enumerate(kinds)
        ),
        own=frozenset(name for number in kept for name in blocks[number].own),
    )


def _cut(
    owner: nn.Module,
    settings: object,
    blocks: nn.Module,
    chain: Chain,
    undo: ExitStack,
) -> None:
    modules = dict(blocks._modules)
    count = len(modules)
    by_block = _by_block(settings, count)
    undo.callback(_refill, blocks._modules, modules)
    numbered = list(modules.values())
    _refill(blocks._modules, {str(k): numbered[n] for k, n in enumerate(chain.kept)})
    # Past the setters of transformers, which check one field against another.
    for told in (vars(owner), vars(settings) if settings is not None else {}):
        for key, value in list(told.items()):
            if type(value) is int and value == count and _DEPTH.search(key):
                undo.callback(told.__setitem__, key, value)
                told[key] = len(chain.kept)
            elif told is not vars(owner) and key in by_block:
                undo.callback(told.__setitem__, key, value)
                told[key] = type(value)(by_block[key][number] for number in chain.kept)


def _refill(held: dict[str, nn.Module | None], modules: Mapping[str, nn.Module | None]) -> None:
    held.clear()
    held.update(modules)
