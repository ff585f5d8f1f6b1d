"""What a person reads about a node: its title, its numbers, its formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.placement import Module, Placement
from pipeline.export.graph.scopes import Scope

__all__ = ["FORMULAS", "Captions"]

FORMULAS = {
    "LoraLinear": "y = x W^T + b + scaling (x A^T) B^T, where W = weight and b = bias are frozen, "
    "A = lora_A and B = lora_B are trained",
    "Linear": "y = x W^T + b, where W = weight and b = bias",
    "SDPA": "y = softmax(q k^T / sqrt(d) + mask) v",
}
"""What a function of this title computes."""


@dataclass(frozen=True, slots=True)
class Captions:
    """Everything that is known about the modules of one model."""

    placement: Placement
    facts: Mapping[str, str]

    @property
    def adapter(self) -> str:
        """Name of the adapter."""
        return self.facts.get("peft.adapter", "default")

    def numbers(self, name: str) -> dict[str, int | float]:
        """Return rank, alpha and scaling of the adapter on a module, as far as it has them."""
        for module in self.placement.modules:
            if module.name == name:
                known = {"r": module.r, "lora_alpha": module.lora_alpha, "scaling": module.scaling}
                return {
                    key: value if key == "r" else float(value)
                    for key, value in known.items()
                    if value is not None
                }
        return {}

    def module(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the class of a module, and the parameters of it and all below it."""
        told = {"pytorch.class": scope.type}
        inside = self._below(name)
        if inside:
            told["params.trainable"] = str(sum(module.trainable for module in inside))
            told["params.frozen"] = str(sum(module.frozen for module in inside))
        return told

    def adapted(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the same, and what PEFT says of its layer."""
        kind = next((module.kind for module in self._below(name) if module.kind is not None), None)
        told = {
            **self.module(scope, name),
            "peft.type": kind or self.placement.kind,
            "peft.adapter": self.adapter,
        }
        dropout = self.facts.get("peft.lora_dropout", self.facts.get("lora_dropout"))
        return told if dropout is None else told | {"lora_dropout": dropout}

    def block(self, scope: Scope, name: str) -> dict[str, str]:
        """Return the same of a container, and the adapters in it."""
        adapters = [
            module.name.removeprefix(f"{name}.")
            for module in self._below(name)
            if module.role == "adapted"
        ]
        told = self.module(scope, name)
        return told | {"peft.adapters": ", ".join(adapters)} if adapters else told

    def totals(self) -> dict[str, str]:
        """Return what holds for the whole model."""
        return {
            **self.facts,
            "params.trainable": str(self.placement.trainable),
            "params.frozen": str(self.placement.frozen),
            "adapters": str(len(self.placement.adapted)),
            "peft.type": self.placement.kind,
        }

    def _below(self, name: str) -> list[Module]:
        return [
            module
            for module in self.placement.modules
            if module.name == name or module.name.startswith(f"{name}.")
        ]
