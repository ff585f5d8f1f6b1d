"""Which parameters of a model train, by their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.partial.bottleneck import is_own
from pipeline.partial.places import any_ends
from pipeline.partial.settings import Kind, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["chosen", "head_of"]


def chosen(model: nn.Module, settings: Settings) -> list[str]:
    """Return the names of the parameters that train; of tied ones, the first name alone."""
    every = [name for name, _ in model.named_parameters()]
    if settings.peft_type == Kind.NONE:
        return every
    inside = {
        *_inside(model, lambda at: any(f"{at}.".startswith(f"{head}.") for head in settings.head)),
        *_inside(model, lambda at: any_ends(settings.modules_to_save or (), at)),
    }
    return [
        name
        for name in every
        if name in inside
        or is_own(name)
        or (settings.peft_type == Kind.BITFIT and name.rpartition(".")[2] == "bias")
    ]


def head_of(model: nn.Module) -> tuple[str, ...]:
    """Return the modules outside the body that was pretrained, and have weights of their own.

    A layer whose weights are tied to those of the body has none. Empty, too, where the model does
    not say what its body is.
    """
    body = f"{getattr(model, 'base_model_prefix', '')}."
    every = [name for name, _ in model.named_parameters()]
    if not any(name.startswith(body) for name in every):
        return ()
    outside = [name for name in every if not name.startswith(body)]
    return tuple(dict.fromkeys(name.partition(".")[0] for name in outside))


def _inside(model: nn.Module, wanted: Callable[[str], bool]) -> list[str]:
    """Return the parameters of modules that are wanted, by the names that they count under."""
    first = {id(value): name for name, value in model.named_parameters()}
    return [
        first[id(value)]
        for at, module in model.named_modules()
        if at and wanted(at)
        for value in module.parameters()
    ]
