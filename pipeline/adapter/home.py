"""Which module of the base model each part of an adapted model belongs to."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

__all__ = ["Homes"]

_ADAPTER = "default"


class Homes:
    """Reads the names of a PEFT model as names of its base model.

    PEFT puts containers of its own between a module and its parameters: `query.base_layer.weight`
    and `query.lora_A.default.weight` both belong to `query`. A part of a name that the base model
    does not know at this place is therefore PEFT's, and its content belongs to the module above.
    What lies outside the base model, such as a prompt encoder, is a home of its own.
    """

    def __init__(self, model: PeftModel, before: Collection[str]) -> None:
        """Take a model with adapters, and the names of the base model's modules without them."""
        inner = model.get_base_model()
        if isinstance(inner, BaseTuner):  # some kinds are asked for their model once more
            inner = inner.model
        self._before = before
        self._modules: dict[str, nn.Module] = dict(model.named_modules())
        self._inside = next(path for path, module in self._modules.items() if module is inner)
        self._known = {self._inside: ""}

    def of(self, path: str) -> str:
        """Return the home of the module at `path` of the PEFT model."""
        if path not in self._known:
            above, _, part = path.rpartition(".")
            if path.startswith(f"{self._inside}."):
                home = self.of(above)
                inner = f"{home}.{part}" if home else part
                self._known[path] = inner if inner in self._before else home
            else:
                head, found, _ = path.removeprefix("base_model.").partition(f".{_ADAPTER}")
                self._known[path] = head + found
        return self._known[path]

    def is_outside(self, home: str) -> bool:
        """Whether a home is no module of the base model."""
        return bool(home) and home not in self._before

    def type_of(self, home: str) -> str:
        """Return the class name of what lies outside the base model."""
        module = self._modules.get(home) or self._modules[f"base_model.{home}"]
        return type(module).__name__

    def adapters(self) -> dict[str, nn.Module]:
        """Return PEFT's layers by their home; of several at one home the outermost."""
        found: dict[str, nn.Module] = {}
        for path, module in self._modules.items():
            ours = isinstance(module, BaseTunerLayer) or type(module).__module__.startswith("peft.")
            if ours and self._is_inside(path) and not isinstance(module, AuxiliaryTrainingWrapper):
                found.setdefault(self.of(path), module)
        return found

    def saved(self) -> dict[str, nn.Module]:
        """Return PEFT's wrappers of modules that train in full, by their home."""
        return {
            self.of(path): module
            for path, module in self._modules.items()
            if isinstance(module, AuxiliaryTrainingWrapper)
        }

    def _is_inside(self, path: str) -> bool:
        return path.startswith(f"{self._inside}.")
