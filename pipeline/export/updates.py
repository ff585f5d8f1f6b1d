"""What training did to each module: the norm of the update, and its size beside the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft.tuners.adalora import AdaLoraLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file

from pipeline.placement import Module, Placement

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor, nn

__all__ = ["with_updates"]

_ADAPTER = "default"
_PREFIX = "base_model.model."


@torch.no_grad()
def with_updates(
    placement: Placement,
    model: PeftModel,
    before: Path,
    after: Path,
    origin: nn.Module | None = None,
) -> Placement:
    """Return the placement with the norm of each module's update.

    For a module with LoRA that is the Frobenius norm of the difference between what merging would
    add to its weights now and what it would have added at the start; for other adapters, which
    start from nothing, of what merging adds now; for what is trained in full, biases of adapted
    modules among it, of the difference to the start. None where PEFT cannot merge.

    Args:
        placement: Of the model.
        model: With the trained adapter, not merged. Unchanged in the end.
        before: Folder of the adapter as training found it.
        after: Folder of the trained adapter.
        origin: The base model as it was, if training changed its own weights.
    """
    inner = model.get_base_model()
    body = f"{getattr(inner, 'base_model_prefix', '')}."
    started, ended = _saved(before), _saved(after)
    if origin is not None:
        started = {f"{_PREFIX}{name}": v for name, v in origin.named_parameters()} | started

    def measured(module: Module) -> Module:
        if module.role == "adapted":
            prefix = f"{_PREFIX}{module.name}."
            norms = _adapter(_layer(inner, module.name), started, prefix)
            bias = _difference(started, ended, f"{prefix}base_layer.")
            if norms is not None and bias is not None:
                norms = math.hypot(norms[0], bias[0]), norms[1]
        elif module.role == "trained":
            norms = _difference(started, ended, f"{_PREFIX}{module.name}.")
        else:
            return module
        if norms is None:
            return module
        update, weight = norms
        new = module.role == "trained" and not module.name.startswith(body)
        relative = None if new or weight == 0 else update / weight
        return replace(module, update_norm=update, relative_update=relative)

    return replace(placement, modules=tuple(map(measured, placement.modules)))


def _layer(inner: nn.Module, name: str) -> BaseTunerLayer | None:
    """Return PEFT's layer in place of a module of the base model, if there is one."""
    try:
        found = inner.get_submodule(name)
    except AttributeError:
        return None
    return found if isinstance(found, BaseTunerLayer) else None


def _adapter(
    layer: BaseTunerLayer | None, started: Mapping[str, Tensor], prefix: str
) -> tuple[float, float] | None:
    """Return the norms of the update and of the frozen weights; None when they are not known."""
    if layer is None or not hasattr(layer, "merge"):
        return None
    if isinstance(layer, AdaLoraLayer):  # its ranks are fewer now; the middle matrix starts at zero
        return _merged(layer)
    if isinstance(layer, LoraLayer):
        if layer.lora_variant:  # DoRA: what it adds is no product of A and B alone
            return _merged(layer) if _starts_at_zero(started, prefix) else None
        return _of_lora(layer, started, prefix)
    return _merged(layer)


def _of_lora(
    layer: LoraLayer, started: Mapping[str, Tensor], prefix: str
) -> tuple[float, float] | None:
    trained = {
        name: value
        for name, value in layer.named_parameters()
        if name.startswith("lora_") and f".{_ADAPTER}" in name
    }
    update = layer.get_delta_weight(_ADAPTER).clone()
    ended = {name: value.detach().clone() for name, value in trained.items()}
    try:
        for name, value in trained.items():
            key = f"{prefix}{name.replace(f'.{_ADAPTER}', '')}"
            if key not in started:
                return None
            value.copy_(started[key])
        update -= layer.get_delta_weight(_ADAPTER)
    finally:
        for name, value in trained.items():
            value.copy_(ended[name])
    return _norm([update]), _norm([layer.get_base_layer().weight])


def _starts_at_zero(started: Mapping[str, Tensor], prefix: str) -> bool:
    second = [value for name, value in started.items() if name.startswith(f"{prefix}lora_B")]
    return bool(second) and not any(value.any() for value in second)


def _merged(layer: BaseTunerLayer) -> tuple[float, float] | None:
    """Return the same of an adapter that starts from nothing, from what merging adds."""
    base = layer.get_base_layer()
    frozen = list(base.parameters(recurse=False))
    before = [value.detach().clone() for value in frozen]
    differences: list[Tensor] = []
    try:
        layer.merge()
        merged = list(layer.get_base_layer().parameters(recurse=False))
        differences = [value - old for value, old in zip(merged, before, strict=True)]
    except (NotImplementedError, ValueError):
        return None
    finally:
        for value, old in zip(frozen, before, strict=True):
            value.copy_(old)  # taking a sum apart again would leave rounding behind
        if layer.get_base_layer() is base:
            layer.merged_adapters.clear()
        else:
            layer.unmerge()  # layer norms change places with those that were trained
    return _norm(differences), _norm(before)


def _difference(
    started: Mapping[str, Tensor], ended: Mapping[str, Tensor], prefix: str
) -> tuple[float, float] | None:
    """Return the same of the tensors of one module in two saved adapters."""
    names = [name for name in _own(ended, prefix) if name in started]
    if not names:
        return None
    return (
        _norm([ended[name] - started[name] for name in names]),
        _norm([started[name] for name in names]),
    )


def _own(tensors: Mapping[str, Tensor], prefix: str) -> Iterator[str]:
    return (name for name in tensors if name.startswith(prefix) and "." not in name[len(prefix) :])


def _norm(tensors: list[Tensor]) -> float:
    return math.hypot(*(float(torch.linalg.vector_norm(value.double())) for value in tensors))


def _saved(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(folder / "adapter_model.safetensors")
    return tensors
