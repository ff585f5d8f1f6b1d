"""Read off a PEFT model where its adapters sit and what they cost."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper

from pipeline.placement import Module, Placement

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

__all__ = ["place", "show"]

log = logging.getLogger(__name__)

_ADAPTER = "default"


def place(model: PeftModel, before: Mapping[str, str]) -> Placement:
    """Return what became of each module of the base model.

    Args:
        model: The base model with adapters in it.
        before: Names and class names of the base model's modules before PEFT wrapped them.
    """
    inner = model.get_base_model()
    settings = model.peft_config[_ADAPTER]
    kind = str(settings.peft_type.value)
    modules = []
    counted: set[int] = set()
    for name, type_name in before.items():
        if not name:
            continue  # the model itself: its children are listed
        wrapper, at, rest = _wrapper(inner, name)
        if wrapper is None:
            own = dict(inner.get_submodule(name).named_parameters(recurse=False))
            module = _module(name, type_name, own.values(), counted, kind)
        elif isinstance(wrapper, BaseTunerLayer):
            why = f"target_modules: {_target(settings.target_modules, at)}"
            module = _module(name, type_name, wrapper.parameters(), counted, kind, why, wrapper)
        else:
            own = _of_both_copies(wrapper, rest)
            why = f"modules_to_save: {_target(settings.modules_to_save, at)}"
            module = _module(name, type_name, own.values(), counted, kind, why)
        modules.append(module)
    trainable, total = model.get_nb_trainable_parameters()
    placement = Placement(
        kind=kind, modules=tuple(modules), frozen=total - trainable, trainable=trainable
    )
    assert sum(module.trainable for module in modules) == trainable, "a module was not counted"
    assert sum(module.frozen for module in modules) == total - trainable
    return placement


def show(placement: Placement) -> None:
    """Log the placement: one line for each kind of module that trains, then the totals."""
    lines: dict[tuple[str, str], list[Module]] = {}
    for module in placement.modules:
        if module.trainable:
            pattern = re.sub(r"\.\d+\.", ".*.", module.name)
            what = f"{placement.kind} r={module.r}" if module.r else f"{module.role} in full"
            lines.setdefault((pattern, what), []).append(module)
    for (pattern, what), same in lines.items():
        count = sum(module.trainable for module in same)
        log.info("    %-48s %3d x %-14s %12s", pattern, len(same), what, f"{count:,}")
    total = placement.trainable + placement.frozen
    log.info(
        "    %s of %s parameters train (%.2f %%); adapters on %d of %d modules with parameters",
        f"{placement.trainable:,}",
        f"{total:,}",
        100 * placement.trainable / total,
        len(placement.adapted),
        sum(1 for module in placement.modules if module.frozen or module.trainable),
    )


def _wrapper(inner: nn.Module, name: str) -> tuple[nn.Module | None, str, str]:
    """Return PEFT's wrapper at `name` or above it, its own name, and the rest of the name."""
    parts = name.split(".")
    module = inner
    for index, part in enumerate(parts):
        module = getattr(module, part)
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            return module, ".".join(parts[: index + 1]), ".".join(parts[index + 1 :])
    return None, "", ""


def _of_both_copies(wrapper: nn.Module, rest: str) -> dict[str, nn.Parameter]:
    """Return a saved module's own parameters: of the copy that trains and of the frozen original.

    PEFT keeps both, and counts both.
    """
    return {
        f"{copy}.{name}": value
        for copy in ("original_module", f"modules_to_save.{_ADAPTER}")
        for name, value in wrapper.get_submodule(f"{copy}.{rest}".rstrip(".")).named_parameters(
            recurse=False
        )
    }


def _module(
    name: str,
    type_name: str,
    parameters: Iterable[nn.Parameter],
    counted: set[int],
    kind: str,
    why: str | None = None,
    layer: nn.Module | None = None,
) -> Module:
    frozen = trainable = 0
    for value in parameters:
        if id(value) in counted:  # tied weights count once
            continue
        counted.add(id(value))
        if value.requires_grad:
            trainable += value.numel()
        else:
            frozen += value.numel()
    if layer is None:
        role = "trained" if trainable else "frozen"
        untouched = "no target names it" if frozen else "no parameters of its own"
        decided = why or ("bias" if trainable else untouched)
        return Module(
            name=name, type=type_name, role=role, why=decided, frozen=frozen, trainable=trainable
        )
    return Module(
        name=name,
        type=type_name,
        role="adapted",
        why=why or "",
        kind=kind,
        r=None if (r := _of_adapter(layer, "r")) is None else int(r),
        lora_alpha=_of_adapter(layer, "lora_alpha"),
        scaling=_of_adapter(layer, "scaling"),
        frozen=frozen,
        trainable=trainable,
    )


def _of_adapter(layer: nn.Module, name: str) -> float | None:
    found = getattr(layer, name, None)
    value = found.get(_ADAPTER) if isinstance(found, dict) else None
    return value if isinstance(value, int | float) else None


def _target(targets: object, name: str) -> str:
    """Return which of the targets matched `name`; a pattern matched as a whole."""
    if isinstance(targets, str):
        return targets
    assert isinstance(targets, list | set | tuple)
    ends = (str(target) for target in targets if f".{name}".endswith(f".{target}"))
    return next(ends, ", ".join(map(str, targets)))
