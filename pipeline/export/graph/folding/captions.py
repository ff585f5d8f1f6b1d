"""What a person reads about a node: its title, its numbers, its formula."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.export.graph.scopes import Scope
from pipeline.placement import Module, Placement

__all__ = ["FORMULAS", "Captions"]

FORMULAS = {
    "LoraLinear": "y = W(x) + scaling B(A(x)): W, the layer as it was with its bias, is frozen; "
    "A = lora_A and B = lora_B are trained",
    "LoraConv2d": "y = W(x) + scaling B(A(x)): W, the convolution as it was, is frozen; A = lora_A "
    "convolves to r channels and B = lora_B, 1 x 1, back; both are trained",
    "DoraLinear": "y = m (W + scaling B A) x / |W + scaling B A| + b, the norm taken by output: "
    "W = weight and b = bias are frozen; A, B and m = lora_magnitude_vector are trained",
    "BottleneckLinear": "y + U f(D y + d) + u, where y = W(x): W, the layer as it was, is frozen; "
    "D, d = bottleneck_down and U, u = bottleneck_up are trained",
    "BottleneckConv2d": "y + U f(D y + d) + u, where y = W(x): W, the convolution as it was, is "
    "frozen; D, d = bottleneck_down and U, u = bottleneck_up convolve 1 x 1, and are trained",
    "Linear": "y = x W^T + b, where W = weight and b = bias",
    "SDPA": "y = softmax(q k^T / sqrt(d) + mask) v",
}
"""What a function of this title computes."""


@dataclass(frozen=True, slots=True)
class Captions:
    """Everything that is known about the modules of one model."""

    placement: Placement
    facts: Mapping[str, str]
    _inside: Mapping[str, Sequence[Module]] = field(init=False, repr=False)
    """By name: a module and all below it."""

    def __post_init__(self) -> None:
        inside: dict[str, list[Module]] = defaultdict(list)
        for module in self.placement.modules:
            name = module.name
            while name:
                inside[name].append(module)
                name = name.rpartition(".")[0]
        object.__setattr__(self, "_inside", inside)

    @property
    def adapter(self) -> str:
        """Name of the adapter."""
        return self.facts.get("peft.adapter", "default")

    def numbers(self, name: str) -> dict[str, int | float]:
        """Return rank, alpha and scaling of the adapter on a module, as far as it has them."""
        module = self._of(name)
        if module is None:
            return {}
        known = {"r": module.r, "lora_alpha": module.lora_alpha, "scaling": module.scaling}
        return {
            key: value if key == "r" else float(value)
            for key, value in known.items()
            if value is not None
        }

    def changed(self, name: str) -> str:
        """Return `Trained` or `Merged` for a module that differs though its structure does not."""
        found = self._of(name)
        return {"adapted": "Merged", "trained": "Trained"}.get(found.role, "") if found else ""

    def module(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the class of a module, and the sums over it and all below it."""
        return {"pytorch.class": scope.type, **self._sums(self._below(name))}

    def adapted(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the same, and what PEFT says of its layer."""
        module = next((each for each in self._below(name) if each.role != "frozen"), None)
        told = {
            **self.module(scope, name),
            "peft.type": (module and module.kind) or self.placement.kind,
            "peft.adapter": self.adapter,
        }
        if module is not None:
            told["peft.why"] = module.why
            if module.lora_dropout is not None:
                told["lora_dropout"] = f"{module.lora_dropout:g}"
        return told

    def trained(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the same of a module that is trained in full."""
        return {**self.adapted(scope, name), "peft.trained": "in full"}

    def block(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the same of a container, and the adapters in it."""
        adapters = [
            module.name.removeprefix(f"{name}.")
            for module in self._below(name)
            if module.role == "adapted"
        ]
        told = self.module(scope, name)
        if adapters:
            told |= {"adapters": str(len(adapters)), "peft.adapters": ", ".join(adapters)}
        return told

    def totals(self) -> dict[str, str]:
        """Return what holds for the whole model."""
        return {
            **self.facts,
            **self._sums(self.placement.modules),
            "params.trainable": str(self.placement.trainable),
            "params.frozen": str(self.placement.frozen),
            "adapters": str(len(self.placement.adapted)),
            "peft.type": self.placement.kind,
        }

    def _sums(self, modules: Sequence[Module]) -> dict[str, str]:
        """Return parameters, operations and the norm of the update, as far as they are known."""
        if not modules:
            return {}
        told = {
            "params.trainable": str(sum(module.trainable for module in modules)),
            "params.frozen": str(sum(module.frozen for module in modules)),
        }
        flops = [module.flops for module in modules if module.flops is not None]
        added = [module.adapter_flops for module in modules if module.adapter_flops is not None]
        if flops and self.placement.flops_per:
            told["flops.counted_per"] = self.placement.flops_per
            told["flops.without_adapter"] = str(sum(flops))
            told["flops.with_adapter"] = str(sum(flops) + sum(added))
        norms = [module.update_norm for module in modules if module.update_norm is not None]
        if norms:
            told["update.norm"] = f"{math.hypot(*norms):.4g}"
        relative = [each.relative_update for each in modules if each.relative_update is not None]
        if len(modules) == 1 and relative:
            told["update.relative"] = f"{relative[0]:.4g}"
        elif relative:
            told["update.relative_max"] = f"{max(relative):.4g}"
        return told

    def _below(self, name: str) -> Sequence[Module]:
        return self._inside.get(name, ())

    def _of(self, name: str) -> Module | None:
        return next((module for module in self._below(name) if module.name == name), None)
