"""Read off a PEFT model where its adapters sit and what they cost."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch import nn

from pipeline.adapter.home import Homes
from pipeline.placement import Module, Placement

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor

__all__ = ["place", "show"]

log = logging.getLogger(__name__)

_ADAPTER = "default"


def place(model: PeftModel, before: Mapping[str, str]) -> Placement:
    """Return what became of each module of the base model.

    A parameter belongs to the module of the base model that it lies in, however PEFT wrapped that;
    one that several modules share, as PEFT counts it, to the first of them. What lies in none, such
    as a prompt encoder, is listed at the end.

    Args:
        model: The base model with adapters of any kind in it, on any device.
        before: Names and class names of the base model's modules before PEFT wrapped them.
    """
    reader = _Reader(model, before)
    modules = tuple(reader.module(name) for name in reader.names())
    trainable, total = model.get_nb_trainable_parameters()
    placement = Placement(
        kind=reader.kind, modules=modules, frozen=total - trainable, trainable=trainable
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
            rank = f" r={module.r}" if module.r else ""
            full = "bias trained" if module.change == "bias" else f"{module.role} in full"
            what = f"{module.kind}{rank}" if module.kind else full
            lines.setdefault((pattern, what), []).append(module)
    for (pattern, what), same in lines.items():
        count = sum(module.trainable for module in same)
        log.info("    %-48s %3d x %-14s %12s", pattern, len(same), what, f"{count:,}")
    total = placement.trainable + placement.frozen
    log.info(
        "    %s of %s parameters train (%.3g %%); adapters on %d of %d modules with parameters",
        f"{placement.trainable:,}",
        f"{total:,}",
        100 * placement.trainable / total,
        len(placement.adapted),
        sum(1 for module in placement.modules if module.frozen or module.trainable),
    )


class _Reader:
    """What PEFT made of a model, module by module."""

    def __init__(self, model: PeftModel, before: Mapping[str, str]) -> None:
        self.settings: PeftConfig = model.peft_config[_ADAPTER]
        self.kind = str(self.settings.peft_type.value)
        self.before = before
        self.homes = Homes(model, before)
        self.adapters = self.homes.adapters()
        self.saved = self.homes.saved()
        self.frozen: dict[str, int] = {}
        self.trainable: dict[str, int] = {}
        self.trained: dict[str, str] = {}  # what trains in a module, by the last part of its name
        for path, value in model.named_parameters():  # tied weights come once
            above, _, last = path.rpartition(".")
            home = self.homes.of(above)
            counts = self.trainable if value.requires_grad else self.frozen
            counts[home] = counts.get(home, 0) + _size(value)
            if value.requires_grad:
                self.trained.setdefault(home, last)

    def names(self) -> list[str]:
        """Return the modules of the base model, and after them what lies outside it."""
        counted = dict.fromkeys([*self.frozen, *self.trainable])
        # The model itself is a module only if it has parameters that are in none of its children.
        return [name for name in dict.fromkeys([*self.before, *counted]) if name or "" in counted]

    def module(self, name: str) -> Module:
        layer = self.adapters.get(name)
        if layer is not None:
            return self._adapted(name, layer)
        frozen, trainable = self.frozen.get(name, 0), self.trainable.get(name, 0)
        if self.homes.is_outside(name):
            return self._outside(name, frozen, trainable)
        return Module(
            name=name,
            type=self.before[name],
            role="trained" if trainable else "frozen",
            why=self._why_not_adapted(name, frozen, trainable),
            frozen=frozen,
            trainable=trainable,
        )

    def _adapted(self, name: str, layer: nn.Module) -> Module:
        tokens = isinstance(layer, TrainableTokensLayer) and self.kind != "TRAINABLE_TOKENS"
        rank, alpha = _setting(layer, "r"), _setting(layer, "lora_alpha")
        targets = getattr(self.settings, "target_modules", None)
        why = f"target_modules: {_target(targets, name)}" if targets else f"chosen by {self.kind}"
        return Module(
            name=name,
            type=self.before[name],
            role="adapted",
            why="trainable_token_indices" if tokens else why,
            kind="TRAINABLE_TOKENS" if tokens else self.kind,
            r=None if rank is None else int(rank),
            lora_alpha=_setting(layer, "alpha") if alpha is None else alpha,
            scaling=_setting(layer, "scaling"),
            frozen=self.frozen.get(name, 0),
            trainable=self.trainable.get(name, 0),
            lora_dropout=_dropout(layer),
        )

    def _outside(self, name: str, frozen: int, trainable: int) -> Module:
        """Describe the adapter of kinds that adapt no module, or what all adapters share."""
        shared = bool(self.adapters)
        virtual = getattr(self.settings, "num_virtual_tokens", None)
        why = f"chosen by {self.kind}" if virtual is None else f"num_virtual_tokens: {virtual}"
        return Module(
            name=name,
            type=self.homes.type_of(name),
            role="trained" if shared and trainable else "frozen" if shared else "adapted",
            why="shared by the adapters" if shared else why,
            kind=None if shared else self.kind,
            frozen=frozen,
            trainable=trainable,
        )

    def _why_not_adapted(self, name: str, frozen: int, trainable: int) -> str:
        inside = [at for at in self.saved if name == at or name.startswith(f"{at}.")]
        if inside:
            asked = getattr(self.settings, "modules_to_save", None)
            return f"modules_to_save: {_target(asked, inside[-1])}"
        if trainable:
            told = getattr(self.settings, "reason", None)  # PEFT's kinds have none
            return str(told(name, self.trained[name]) if told else self.trained[name])
        return "no target names it" if frozen else "no parameters of its own"


def _size(value: Tensor) -> int:
    """Return how many weights a parameter stands for; two of four bits are kept in a byte."""
    packed = type(value).__name__ == "Params4bit"
    return value.numel() * (2 * value.element_size() if packed else 1)


def _setting(layer: nn.Module, name: str) -> float | None:
    """Return a number that a layer keeps for each of its adapters."""
    found = getattr(layer, name, None)
    value = found.get(_ADAPTER) if isinstance(found, dict) else None
    return value if isinstance(value, int | float) else None


def _dropout(layer: nn.Module) -> float | None:
    """Return the probability of the layer's dropout, whatever its kind calls it."""
    for name, child in layer.named_children():
        if name.endswith("dropout") and isinstance(child, nn.ModuleDict) and _ADAPTER in child:
            return float(getattr(child[_ADAPTER], "p", 0.0))  # without one it is an Identity
    return None


def _target(targets: object, name: str) -> str:
    """Return which of the targets matched `name`; a pattern is told as it is."""
    if isinstance(targets, str):
        return targets
    names = [str(target) for target in targets] if isinstance(targets, list | set | tuple) else []
    ends = (target for target in names if f".{name}".endswith(f".{target}"))
    loosely = next((target for target in names if name.endswith(target)), ", ".join(sorted(names)))
    return next(ends, loosely)  # modules_to_save: classifier also takes pre_classifier
