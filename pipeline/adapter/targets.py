"""Check the names a user gave for modules against the modules that exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import StageError, among, nearest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_adapted", "check_names", "unsupported"]

_SHOWN = 6
_ADAPTABLE = ("Linear", "Conv1D", "Conv1d", "Conv2d", "Conv3d", "Embedding", "MultiheadAttention")


def check_names(
    model: nn.Module,
    target_modules: Sequence[str] | str,
    exclude_modules: Sequence[str] | str | None,
    modules_to_save: Sequence[str] | None,
) -> None:
    """Refuse any name that matches no module: PEFT would leave it out without a word.

    Raises:
        StageError: Names that match nothing; lists the modules that exist, suggests the nearest.
    """
    modules = {name: type(module).__name__ for name, module in model.named_modules() if name}
    adaptable, every = _ends(modules, _ADAPTABLE), _ends(modules, None)
    _check("target_modules", target_modules, modules, adaptable)
    _check("exclude_modules", exclude_modules or (), modules, every)
    _check("modules_to_save", modules_to_save or (), modules, every)


def unsupported(
    model: nn.Module,
    target_modules: Sequence[str] | str,
    exclude_modules: Sequence[str] | str | None,
) -> str | None:
    """Return in a sentence which target is a module that no LoRA exists for, or None."""
    types = {name: type(module) for name, module in model.named_modules() if name}
    for name, kind in types.items():
        hit = _matching(target_modules, name)
        if hit is None or _matching(exclude_modules or (), name) is not None:
            continue
        if not any(each.__name__ in _ADAPTABLE for each in kind.__mro__):
            known = _ends({name: each.__name__ for name, each in types.items()}, _ADAPTABLE)
            return (
                f"{hit!r} matches {name}, a {kind.__name__}, which cannot carry LoRA. Those that "
                f"can end in: {', '.join(known)}"
            )
    return None


def _matching(names: Sequence[str] | str, module: str) -> str | None:
    """Return which of the names, or the pattern, matches a module."""
    if isinstance(names, str):
        return names if re.fullmatch(names, module) else None
    return next((name for name in names if _any_ends([module], name)), None)


def check_adapted(
    adapted: Sequence[str],
    target_modules: Sequence[str] | str,
    layers_to_transform: Sequence[int] | None,
    patterns: Mapping[str, Iterable[str]],
) -> None:
    """Refuse a setting that touches none of the modules that were adapted in the end.

    Args:
        adapted: Names of the modules that carry an adapter.
        target_modules: Each of a list must have one of them.
        layers_to_transform: So must each of these blocks.
        patterns: And each of these, by the setting that has it, such as `rank_pattern`.

    Raises:
        StageError: Names the setting and the modules that were adapted.
    """
    targets = () if isinstance(target_modules, str) else target_modules
    useless = [
        *(f"target_modules: {t!r}" for t in targets if not _any_ends(adapted, t)),
        *(
            f"layers_to_transform: block {number}"
            for number in layers_to_transform or ()
            if not any(f".{number}." in name for name in adapted)
        ),
        *(
            f"{setting}: {key!r}"
            for setting, keys in patterns.items()
            for key in keys
            # As PEFT reads them (peft.utils.get_pattern_key).
            if not any(re.match(rf"(.*\.)?({key})$", name) for name in adapted)
        ),
    ]
    if useless:
        shown = ", ".join(adapted[:_SHOWN]) + (", ..." if len(adapted) > _SHOWN else "")
        raise StageError(
            f"adapter.{'; adapter.'.join(useless)} touches none of the {len(adapted)} adapted "
            f"modules: {shown}"
        )


def _check(
    key: str, names: Sequence[str] | str, modules: dict[str, str], known: Sequence[str]
) -> None:
    if not isinstance(names, str):
        _check_ends(key, names, modules, known)
    elif not any(re.fullmatch(names, name) for name in modules):
        raise StageError(
            f"adapter.{key}: no module's whole name matches {names!r}"
            f"{among(names, known, 'Modules end in')}"
        )


def _check_ends(
    key: str, names: Sequence[str], modules: dict[str, str], known: Sequence[str]
) -> None:
    wrong = [name for name in names if not _any_ends(modules, name)]
    if not wrong:
        return
    found = [name for name in names if name not in wrong]
    said = "; ".join(f"{name!r} matches no module{nearest(name, known)}" for name in wrong)
    others = f" ({', '.join(found)} would match)" if found else ""
    raise StageError(f"adapter.{key}: {said}{others} Modules end in: {', '.join(known)}")


def _any_ends(modules: Iterable[str], name: str) -> bool:
    return any(module == name or module.endswith(f".{name}") for module in modules)


def _ends(modules: dict[str, str], types: Sequence[str] | None) -> list[str]:
    """Return the distinct last parts of names, numbers left out: `query`, `dense`, ..."""
    ends = {
        name.rpartition(".")[2]
        for name, type_name in modules.items()
        if types is None or type_name in types
    }
    return sorted(end for end in ends if not end.isdigit())
