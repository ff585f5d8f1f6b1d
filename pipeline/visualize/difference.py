"""What differs between a model before and after, or between two runs, module by module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.visualize.modules import places
from pipeline.visualize.pages import number, rounded

if TYPE_CHECKING:
    from pipeline.placement import Module, Placement

__all__ = ["Difference", "before_and_after", "between", "side_roles"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One module on both sides. Modules without parameters of their own are not told of."""

    name: str
    block: str
    """The block it is in, as `pipeline.visualize.modules` finds it."""
    status: str
    """Before and after: `Module.change` or `untouched`. Two runs: `left`, `right` (changed
    there alone), `differs`, `alike`, `untouched`, or `missing` from one of two models."""
    left: str
    """What it is on the left, in words."""
    right: str


def before_and_after(placement: Placement) -> tuple[Difference, ...]:
    """Return what became of every module of the base model."""
    where = places(placement)
    return tuple(
        Difference(
            name=module.name,
            block=where[module.name].block,
            status=module.change or "untouched",
            left=module.type,
            right=_words(module),
        )
        for module in placement.modules
        if _counts(module)
    )


def between(left: Placement, right: Placement) -> tuple[Difference, ...]:
    """Return how two runs treat every module of either; those of the left come first."""
    ours = {each.name: each for each in left.modules if _counts(each)}
    theirs = {each.name: each for each in right.modules if _counts(each)}
    where = places(right) | places(left)
    return tuple(
        Difference(
            name=name,
            block=where[name].block,
            status=_status(ours.get(name), theirs.get(name)),
            left=_words(ours.get(name)),
            right=_words(theirs.get(name)),
        )
        for name in (ours | theirs)
    )


def side_roles(found: tuple[Difference, ...], side: str) -> dict[str, str]:
    """Return the modules to paint on one side, `left` or `right`, for `colours.RUNS`."""
    painted = {side: "only", "differs": "differs", "alike": "alike"}
    return {each.name: painted[each.status] for each in found if each.status in painted}


def _counts(module: Module) -> bool:
    return module.frozen > 0 or module.trainable > 0 or module.role == "adapted"


def _changed(module: Module | None) -> bool:
    return module is not None and module.change is not None


def _status(left: Module | None, right: Module | None) -> str:
    if not _changed(left) and not _changed(right):
        return "untouched" if left and right else "missing"
    if not _changed(right):
        return "left"
    if not _changed(left):
        return "right"
    return "alike" if _settings(left) == _settings(right) else "differs"


def _settings(module: Module | None) -> tuple[object, ...]:
    """Return what a person chose for the module, and not what training made of it."""
    if module is None:
        return ()
    return (
        module.change, module.kind, module.r, module.lora_alpha, module.scaling,
        module.lora_dropout, module.trainable,
    )  # fmt: skip


def _words(module: Module | None) -> str:
    if module is None:
        return "not in this model"
    if not _changed(module):
        return "untouched"
    said = {"trained": "trained in full", "bias": "bias trained"}
    parts = [said.get(module.change or "") or _adapter(module)]
    parts.append(f"{number(module.trainable)} train")
    if module.relative_update is not None:
        parts.append(f"update {100 * module.relative_update:.3g} %")
    elif module.update_norm is not None:
        parts.append(f"update norm {rounded(module.update_norm)}")
    return ", ".join(parts)


def _adapter(module: Module) -> str:
    parts = [module.kind or "adapter"]
    if module.r is not None:
        parts.append(f"r = {module.r}")
    if module.lora_alpha is not None:
        parts.append(f"alpha = {module.lora_alpha:g}")
    return ", ".join(parts)
