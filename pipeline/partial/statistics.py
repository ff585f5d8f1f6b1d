"""The running statistics of layers such as batch norm: those of a frozen layer stay as they are.

torch moves them whenever such a layer is in train mode, whether its weights train or not. They are
not in the file of an adapter: base model and adapter together would not be what was trained.
"""

from __future__ import annotations

from functools import partial

from torch import nn

__all__ = ["has_statistics", "keep_statistics", "trains_in_full"]

_STATISTICS = ("running_mean", "running_var")


def keep_statistics(model: nn.Module) -> None:
    """Let layers with running statistics be in eval mode for good, unless they train in full.

    They take no notice of `model.train()` from here on, whoever calls it.
    """
    for module in model.modules():
        if has_statistics(module) and not trains_in_full(module):
            module.eval()
            module.train = partial(_stay, module)  # type: ignore[method-assign]  # of this one alone


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def has_statistics(module: nn.Module) -> bool:
    """Tell whether a module itself measures what it is given while it trains."""
    own = dict(module.named_buffers(recurse=False))  # PEFT's wrappers answer for what is in them
    return any(name in own for name in _STATISTICS)


def trains_in_full(module: nn.Module) -> bool:
    """Tell whether a module has parameters of its own, and all of them train."""
    own = list(module.parameters(recurse=False))
    return bool(own) and all(value.requires_grad for value in own)
