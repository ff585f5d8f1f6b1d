"""Targets by what they do: `query_value`, `attention`, `mlp`, `all-linear`, `norms`, in any model.

A preset stands for the modules that it finds, and PEFT is given their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PRESETS", "ends_of", "preset", "shown"]

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_QUERY_VALUE = re.compile(r"(^|_)(q|query|v|value|kv)(_|$)|^w_?[qv]$|qkv|query_key_value|^c_attn$")
"""Last names of projections to queries or values, alone or fused with others."""
_FUSED = re.compile(r"pack|^in_proj$|^c_attn$|qkv", re.IGNORECASE)
_POSITIONS = re.compile(r"^pos_|(^|_)r(el)?_")
"""Of relative positions, which DeBERTa projects like words."""


_LINEAR = {"Linear", "Conv1D"}
"""What PEFT means by linear; Conv1D is how GPT-2 calls its own."""
_CONVOLUTIONS = {"Conv1d", "Conv2d", "Conv3d"}


def _query_value(name: str) -> bool:
    last = name.rpartition(".")[2]
    found = _QUERY_VALUE.search(last.lower()) or _FUSED.search(last)
    return _attention(name) and found is not None and _POSITIONS.search(last) is None


def _attention(name: str) -> bool:
    return any(_ATTENTION.search(part) for part in name.split(".")[:-1])


def _mlp(name: str) -> bool:
    return not _attention(name) and any(part.isdigit() for part in name.split("."))


PRESETS: Mapping[str, Callable[[str], bool]] = {
    "query_value": _query_value,
    "attention": _attention,
    "mlp": _mlp,
    "all-linear": lambda name: True,
    "norms": lambda name: True,
}
"""Whether the name of a layer that a preset could mean is one that it does mean."""


def preset(name: str, model: nn.Module, head: Collection[str], key: str) -> list[str]:
    """Return the names of the modules that a preset stands for, in the order of the model.

    `mlp` is every linear layer of the repeated blocks that is not in their attention; `all-linear`
    means what it means to PEFT; `norms` is every layer that normalises.

    Args:
        name: One of `PRESETS`.
        model: Without adapters.
        head: Modules that train in full and therefore get no adapter.
        key: The setting that names the preset, for the message.

    Raises:
        StageError: The model has no such module; the message says what it has.
    """
    output = _output(model)
    inside = {
        path: {each.__name__ for each in type(module).__mro__}
        for path, module in model.named_modules()
        if path and module is not output and not any(f"{path}.".startswith(f"{h}.") for h in head)
    }
    if name == "norms":
        layers = [path for path, kinds in inside.items() if any("Norm" in kind for kind in kinds)]
    else:
        layers = [path for path, kinds in inside.items() if kinds & _LINEAR]
    if found := [path for path in layers if PRESETS[name](path)]:
        return found
    what = "Norms" if name == "norms" else "Linear layers"
    convolutions = shown(path for path, kinds in inside.items() if kinds & _CONVOLUTIONS)
    also = f"; convolutions: {', '.join(convolutions)}" if convolutions else ""
    raise StageError(
        f"adapter.{key}: {type(model).__name__} has no layers that {name!r} stands for. {what}: "
        f"{', '.join(shown(layers)) or 'none outside the head'}{also}. Name some of them instead"
    )


def ends_of(wanted: Iterable[str], model: nn.Module) -> list[str]:
    """Return the shortest ends of names that match the wanted modules and no others."""
    wanted = list(wanted)
    others = [f".{name}" for name, _ in model.named_modules() if name not in set(wanted)]
    ends: dict[str, None] = {}
    for name in wanted:
        parts = name.split(".")
        tails = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        tail = next(
            (t for t in tails if not (_is_number(t) or any(o.endswith(f".{t}") for o in others))),
            name,
        )
        ends[tail] = None
    return list(ends)


def _is_number(tail: str) -> bool:
    return tail.replace(".", "").isdigit()


def shown(names: Iterable[str], most: int = 12) -> list[str]:
    """Return ends by which modules can be named, each once, the numbers of their blocks left out.

    Args:
        names: Of modules: their ends, or whole ones, of which the last name is shown.
        most: How many of them, before dots stand for the rest.
    """
    ends = list(dict.fromkeys(_last(name) for name in names))
    return ends if len(ends) <= most else [*ends[:most], "..."]


def _last(name: str) -> str:
    """Return `output.dense` of `0.output.dense`, `query` of `layer.0.query`, `features.4` as is."""
    head, _, tail = name.rpartition(".")
    if tail.isdigit():
        return f"{head.rpartition('.')[2]}.{tail}".strip(".")
    numbers = [place for place, part in enumerate(name.split(".")) if part.isdigit()]
    return ".".join(name.split(".")[numbers[-1] + 1 :]) if numbers else name


def _output(model: nn.Module) -> nn.Module | None:
    """Return the layer that turns what the body computes into words, if the model has one."""
    get = getattr(model, "get_output_embeddings", None)
    found: nn.Module | None = get() if callable(get) else None
    return found
