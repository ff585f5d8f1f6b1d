"""Where the adapters sit in a model, what they cost and what training changed: data alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Module", "Placement"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """One module of the base model and what the adapter did to it."""

    name: str
    """Dotted path in the base model: `bert.encoder.layer.3.attention.self.query`."""
    type: str
    """Class name: `Linear`."""
    role: str
    """`adapted`, `trained` (modules_to_save, the head, biases) or `frozen`."""
    why: str
    """What decided the role: `target_modules: query`, `modules_to_save: classifier`, ..."""
    kind: str | None = None
    """PEFT's type of the adapter, such as `LORA`; None without one."""
    r: int | None = None
    lora_alpha: float | None = None
    scaling: float | None = None
    """Factor on the update: lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA."""
    frozen: int = 0
    """Parameters of this module itself, its children not counted, that do not train."""
    trainable: int = 0
    """Parameters of this module itself, adapter included, that train."""
    lora_dropout: float | None = None
    """Probability that an input of the adapter is zeroed while training."""
    flops: int | None = None
    """Floating-point operations of this module itself, without its adapter, for one `flops_per` of
    the placement; a multiply-add is two. None until the model was traced."""
    adapter_flops: int | None = None
    """What the adapter adds to them."""
    update_norm: float | None = None
    """Frobenius norm of what training added to the module's weights; None before training."""
    relative_update: float | None = None
    """The same, divided by the norm of the weights it was added to; None for a new module."""

    @property
    def change(self) -> Literal["adapted", "trained", "bias"] | None:
        """What became of it: it got an adapter, all of it trains, or its bias alone; or nothing."""
        if self.role == "adapted":
            return "adapted"
        if self.role != "trained" or not self.trainable:
            return None
        return "bias" if self.why == "bias" else "trained"


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where the adapters sit in a model and what they cost."""

    kind: str
    """PEFT's type of the adapter: `LORA`."""
    modules: tuple[Module, ...]
    """Every module of the base model, in its order."""
    frozen: int
    """Parameters in all that do not train."""
    trainable: int
    """Parameters in all that train: adapters and trained modules."""
    flops_per: str | None = None
    """What the operations are counted for: `token in a text of 128` or `example`."""

    @property
    def adapted(self) -> tuple[Module, ...]:
        """The modules that carry an adapter."""
        return tuple(module for module in self.modules if module.role == "adapted")

    def save(self, file: Path) -> None:
        """Write as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def read(file: Path) -> Placement:
        """Read what `save` wrote."""
        told = json.loads(file.read_text(encoding="utf-8"))
        modules = tuple(Module(**module) for module in told.pop("modules"))
        return Placement(**told, modules=modules)
