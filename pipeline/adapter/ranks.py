"""A rank above the width of a layer has more parameters than the layer itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

__all__ = ["check_ranks", "check_widths"]


def check_widths(model: nn.Module, ranks: Mapping[str, int], *, low_rank: bool = True) -> None:
    """Refuse ranks above the width of every layer, before matrices of that size are made.

    Args:
        model: Without adapters.
        ranks: By the setting or pattern that asks for them.
        low_rank: Whether the number is the rank of a product of two matrices. To some kinds it is
            another size, which may be larger, but not than the number of a layer's weights.

    Raises:
        StageError: Names the setting and the widest layer.
    """
    sizes = {
        name: min(value.flatten(1).shape) if low_rank else value.numel()
        for name, value in model.named_parameters()
        if value.ndim >= 2
    }
    widest = max(sizes, key=lambda name: sizes[name], default=None)
    for key, r in ranks.items():
        if widest is not None and r > sizes[widest]:
            setting = key if key in ("r", "init_r") else f"rank_pattern.{key}"
            what, most = ("is wide", "widest") if low_rank else ("has weights", "largest")
            raise StageError(
                f"adapter.{setting}: {r} is more than any layer of this model {what}; the {most}, "
                f"{widest.removesuffix('.weight')}, has {sizes[widest]}"
            )


def check_ranks(model: PeftModel, key: str) -> None:
    """Refuse a rank above the width of the layer it was given to.

    Args:
        model: With adapters.
        key: The setting that gave the rank.

    Raises:
        StageError: Names the layer and both numbers.
    """
    from peft.tuners.lora import LoraLayer

    for name, module in model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer):
            continue
        weight = module.get_base_layer().weight
        width = module.in_features, module.out_features
        if weight.ndim > 2:  # a convolution sees channels x height x width
            width = weight[0].numel(), len(weight)
        if (r := module.r["default"]) > min(width):
            raise StageError(
                f"adapter.{key}: {r} is more than {name} is wide ({width[0]} to {width[1]}); at "
                f"most {min(width)} makes sense"
            )
