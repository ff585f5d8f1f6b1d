"""PEFT's adapters in a model on torch's meta device, where there is nothing to start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import nn

__all__ = ["without_values"]

_READ_VALUES = ("ADAMSS", "FROD", "SHIRA")
"""Kinds that look at the values of the weights to decide on their own shapes."""
_FROM_VALUES = ("loftq", "olora", "pissa")
"""Starts of LoRA that decompose the values of the weights; its shapes do not depend on them."""


def without_values(model: nn.Module, settings: PeftConfig) -> PeftModel:
    """Return a model on the meta device with an adapter in it: modules and shapes, no values.

    Args:
        model: On the meta device; it is changed.
        settings: Of the adapter, as PEFT would get them for a model with values.
    """
    from peft import get_peft_model

    first = getattr(settings, "init_lora_weights", None)
    if first in _FROM_VALUES:
        settings.init_lora_weights = True
    reads = str(settings.peft_type.value) in _READ_VALUES
    if reads:
        _give_values(model, settings)
    adapted: PeftModel = get_peft_model(model, settings, low_cpu_mem_usage=not reads)
    if first in _FROM_VALUES:
        settings.init_lora_weights = first
    for name, value in adapted.named_parameters():
        if ".ranknum." in name:  # AdaLoRA's count of ranks: on this device PEFT lets it train
            value.requires_grad_(False)
    return adapted.to("meta") if reads else adapted


def _give_values(model: nn.Module, settings: PeftConfig) -> None:
    """Give the targets random values, in memory; torch's generator stays as it was."""
    import torch
    from peft.tuners.tuners_utils import check_target_module_exists

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for name, module in list(model.named_modules()):
            if name and check_target_module_exists(settings, name):
                for value in module.to_empty(device="cpu").parameters():
                    torch.nn.init.normal_(value)
