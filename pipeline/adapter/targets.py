"""Check the names a user gave for modules against the modules that exist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.errors import StageError, among, nearest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_targets"]

_SPECIAL = ("all-linear",)
_ADAPTABLE = ("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d", "Embedding", "MultiheadAttention")


def check_targets(
    model: nn.Module, target_modules: Sequence[str] | str, modules_to_save: Sequence[str] | None
) -> None:
    """Refuse any name that matches nothing: PEFT would leave it out without a word.

    Raises:
        StageError: Names that match nothing; lists the modules that exist, suggests the nearest.
    """
    modules = {name: type(module).__name__ for name, module in model.named_modules() if name}
    if isinstance(target_modules, str):
        if target_modules in _SPECIAL:
            return
        if not any(re.fullmatch(target_modules, name) for name in modules):
            ends = _ends(modules, _ADAPTABLE)
            raise StageError(
                f"adapter.target_modules: no module's whole name matches {target_modules!r}"
                f"{among(target_modules, ends, 'Modules that can be adapted end in')}"
            )
    else:
        _check_ends("target_modules", target_modules, modules, _ends(modules, _ADAPTABLE))
    if modules_to_save:
        _check_ends("modules_to_save", modules_to_save, modules, _ends(modules, None))


def _check_ends(
    key: str, names: Sequence[str], modules: dict[str, str], known: Sequence[str]
) -> None:
    wrong = [n for n in names if not any(m == n or m.endswith(f".{n}") for m in modules)]
    if not wrong:
        return
    found = [name for name in names if name not in wrong]
    said = "; ".join(f"{name!r} matches no module{nearest(name, known)}" for name in wrong)
    others = f" ({', '.join(found)} would match)" if found else ""
    raise StageError(f"adapter.{key}: {said}{others} Modules end in: {', '.join(known)}")


def _ends(modules: dict[str, str], types: Sequence[str] | None) -> list[str]:
    """Return the distinct last parts of names, numbers left out: `query`, `dense`, ..."""
    ends = {
        name.rpartition(".")[2]
        for name, type_name in modules.items()
        if types is None or type_name in types
    }
    return sorted(end for end in ends if not end.isdigit())
