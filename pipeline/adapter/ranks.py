"""A rank above the width of a layer has more parameters than the layer itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

__all__ = ["check_ranks", "check_widths"]


def check_widths(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Refuse ranks above the width of every layer, before matrices of that size are made.

    Args:
        model: Without adapters.
        ranks: By the setting or pattern that asks for them.

    Raises:
        StageError: Names the setting and the widest layer.
    """
    widths = {name: min(value.shape) for name, value in model.named_parameters() if value.ndim == 2}
    widest = max(widths, key=lambda name: widths[name], default=None)
    for key, r in ranks.items():
        if widest is not None and r > widths[widest]:
            setting = "r" if key == "r" else f"rank_pattern.{key}"
            raise StageError(
                f"adapter.{setting}: {r} is more than any layer of this model is wide; the widest, "
                f"{widest.removesuffix('.weight')}, has {widths[widest]}"
            )


def check_ranks(model: PeftModel) -> None:
    """Refuse a rank above the width of the layer it was given to.

    Raises:
        StageError: Names the layer and both numbers.
    """
    from peft.tuners.lora import LoraLayer

    for name, module in model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer):
            continue
        narrow = min(module.in_features, module.out_features)
        if (r := module.r["default"]) > narrow:
            raise StageError(
                f"adapter.r: {r} is more than {name} is wide ({module.in_features} to "
                f"{module.out_features}); at most {narrow} makes sense"
            )
