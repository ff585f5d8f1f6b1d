"""Which blocks of a list are alike: such that one is traced as the other would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Block", "signatures"]

_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One module of a list."""

    signature: tuple[object, ...]
    """Equal for blocks that are alike."""
    own: tuple[str, ...]
    """Torch names of its parameters and buffers that no module outside of it has."""


def signatures(
    path: str,
    blocks: Sequence[nn.Module],
    values: Mapping[str, Tensor],
    settings: Mapping[str, list[object]],
) -> list[Block]:
    """Describe each block of a list.

    Classes, plain attributes (those of adapters too: rank, scaling, which one is active), shapes,
    what trains, and what the config says of it. Its number alone makes no difference.

    Args:
        path: Torch path of the list.
        blocks: Those in the list.
        values: Every parameter and buffer of the model by its torch names, tied ones by each.
        settings: What the config gives for each block, by name.
    """
    uses = Counter(map(id, values.values()))
    homes = {id(value): name for name, value in reversed(list(values.items()))}
    listed = list(blocks)
    attributes = [dict(_attributes(block)) for block in listed]
    numbers = {
        place
        for place in attributes[0]
        if all(told.get(place) == number for number, told in enumerate(attributes))
    }
    described = []
    for number, block in enumerate(listed):
        held = {
            **dict(block.named_parameters(remove_duplicate=False)),
            **dict(block.named_buffers(remove_duplicate=False)),
        }
        here = Counter(map(id, held.values()))
        own = {name for name, value in held.items() if here[id(value)] == uses[id(value)]}
        tied = f"{path}.{number}."
        described.append(
            Block(
                signature=(
                    tuple((name, type(module)) for name, module in block.named_modules()),
                    tuple(item for item in attributes[number].items() if item[0] not in numbers),
                    tuple(
                        (
                            name,
                            tuple(value.shape),
                            value.dtype,
                            value.requires_grad,
                            homes[id(value)].removeprefix(tied) if name in own else id(value),
                        )
                        for name, value in held.items()
                    ),
                    tuple((name, repr(told[number])) for name, told in settings.items()),
                ),
                own=tuple(f"{path}.{number}.{name}" for name in own),
            )
        )
    return described


def _attributes(block: nn.Module) -> Iterator[tuple[tuple[str, str], object]]:
    """Yield what is said in plain values, by module and name, `training` left out."""
    for name, module in block.named_modules():
        for key, value in vars(module).items():
            if key.startswith("_") and key != "_active_adapter":
                continue
            if key != "training" and _is_plain(value):
                told = value if isinstance(value, _PLAIN) else repr(value)
                yield (name, key), told
            elif callable(value) and not isinstance(value, nn.Module):
                yield (name, key), getattr(value, "__qualname__", type(value).__qualname__)


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)
