"""How long the gradient of every module that trains is: measured, clipped, written down."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

__all__ = ["GradientNorms", "Norms", "homes"]

_MOST_RECORDED = 1000
"""Steps in the file: more than a plot has pixels, and a file that stays small."""

_CONTAINERS = {"base_layer", "original_module", "modules_to_save"}
"""What PEFT puts between a module of the base model and its parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Norms:
    """Of one step, before clipping."""

    loss: float
    total: float
    """Of all gradients together."""
    modules: tuple[float, ...]
    """Of each module, in the order of `GradientNorms.modules`."""


class GradientNorms:
    """Measures gradients by module, remembers which modules ever had one, and keeps a file.

    The first line of the file names the modules; then come `{"step": 1, "norms": [...]}`, every
    step of a short training, every k-th of one with more than a thousand.
    """

    def __init__(self, model: PeftModel, file: Path | None) -> None:
        """Take the parameters that train; `file` is None in all processes but the first."""
        training = {name: value for name, value in model.named_parameters() if value.requires_grad}
        known = homes(model)
        names = [known[name.rpartition(".")[0]] for name in training]
        self._parameters = list(training.values())
        self._file = file
        self.modules = tuple(dict.fromkeys(names))
        """Names in the base model, in its order."""
        numbers = {name: number for number, name in enumerate(self.modules)}
        self._module_of = np.array([numbers[name] for name in names])
        self._learned = np.zeros(len(self.modules), dtype=bool)

    @torch.no_grad()
    def measure(self, loss: Tensor) -> tuple[Norms, Tensor]:
        """Return the norms beside the loss, and the total as a tensor; wait for the device once."""
        there = [n for n, value in enumerate(self._parameters) if value.grad is not None]
        gradients = [value.grad for value in self._parameters if value.grad is not None]
        # As torch.nn.utils.clip_grad_norm_ does, to the bit; that keeps the parts to itself.
        norms = torch.stack(torch._foreach_norm(gradients)) if there else loss.new_zeros(0)
        total = torch.linalg.vector_norm(norms)
        told = torch.cat([loss.reshape(1), total.reshape(1), norms]).tolist()
        squares = np.square(np.array(told[2:], dtype=np.float64))
        modules = np.sqrt(np.bincount(self._module_of[there], squares, len(self.modules)))
        return Norms(loss=told[0], total=told[1], modules=tuple(modules.tolist())), total

    def clip(self, longest: float, total: Tensor) -> None:
        """Cut the gradient to `longest`; `total` is what `measure` returned."""
        torch.nn.utils.clip_grads_with_norm_(self._parameters, longest, total)

    def record(self, step: int, steps: int, norms: Norms) -> None:
        """Remember who learned in a step, counted from 1 to `steps`, and perhaps write it down."""
        found = np.array(norms.modules)
        self._learned |= np.isfinite(found) & (found > 0)
        if self._file is None or (step - 1) % -(-steps // _MOST_RECORDED):
            return
        told = [float(f"{norm:.4g}") if math.isfinite(norm) else None for norm in norms.modules]
        # Step 1 is always written, and begins the file anew, whatever an earlier attempt left.
        with self._file.open("w" if step == 1 else "a", encoding="utf-8") as file:
            if step == 1:
                file.write(json.dumps({"modules": self.modules}) + "\n")
            file.write(json.dumps({"step": step, "norms": told}) + "\n")

    @property
    def unlearned(self) -> tuple[str, ...]:
        """The modules whose gradient was exactly zero at every step."""
        return tuple(np.array(self.modules)[~self._learned].tolist())

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON can hold it."""
        return {"unlearned": list(self.unlearned)}

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Go on after `step` steps: drop from the file what an interrupted attempt did later."""
        asleep = set(state["unlearned"])
        self._learned = np.array([name not in asleep for name in self.modules])
        if self._file is not None and self._file.exists():
            lines = self._file.read_bytes().splitlines(keepends=True)
            self._file.write_bytes(b"".join(_until(step, lines)))


def _until(step: int, lines: Iterable[bytes]) -> Iterable[bytes]:
    """Yield the lines up to a step; the last one may be cut off."""
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            return
        if not line.endswith(b"\n") or told.get("step", 0) > step:
            return
        yield line


def homes(model: PeftModel) -> dict[str, str]:
    """Return for the path of every module of the PEFT model its name in the base model.

    The parts of an adapter belong to the module it adapts. What lies outside the base model, such
    as a prompt encoder, keeps its name; the base model as a whole is called by its class.
    """
    inner = model.get_base_model()
    if isinstance(inner, BaseTuner):  # some kinds are asked for their model once more
        inner = inner.model
    inside = next(path for path, module in model.named_modules() if module is inner)
    found = {path: _outside(path) for path, _ in model.named_modules()}
    found[inside] = type(inner).__name__
    layers: set[str] = set()
    for path, module in inner.named_modules():
        if not path:
            continue
        above, _, part = path.rpartition(".")
        home = found[f"{inside}.{above}"] if above else ""
        if above in layers:
            layers.add(path)
        else:
            if isinstance(module, BaseTunerLayer):
                layers.add(path)
            wrapped = part in _CONTAINERS or above.rpartition(".")[2] == "modules_to_save"
            home = home if wrapped else f"{home}.{part}".removeprefix(".")
        found[f"{inside}.{path}"] = home
    return found


def _outside(path: str) -> str:
    head, adapter, _ = path.removeprefix("base_model.").partition(".default")
    return head + adapter
