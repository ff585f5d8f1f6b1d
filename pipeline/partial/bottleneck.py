"""Bottleneck adapters: y + U f(D y) behind a frozen layer that answers y.

Source: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", section 2.1,
https://arxiv.org/abs/1902.00751, with one behind the attention and one behind the feed-forward part
of each block; Pfeiffer et al. 2021, "AdapterFusion", https://arxiv.org/abs/2005.00247, with the
latter alone. On the channels of an image D and U are 1 x 1 convolutions: Rebuffi et al. 2018,
"Efficient parametrization of multi-domain deep neural networks", https://arxiv.org/abs/1803.10082.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.partial.settings import Activation, Settings

__all__ = ["Bottleneck", "BottleneckConv2d", "BottleneckLinear", "bottleneck_behind", "is_own"]

_ADAPTER = "default"
_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Bottleneck(nn.Module, BaseTunerLayer):  # type: ignore[misc]  # PEFT has no types
    """A frozen layer and its bottleneck; to PEFT's tools a layer like those of its own.

    With m units behind a layer of d outputs it has 2 m d + m + d parameters.
    """

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")

    def __init__(
        self,
        base_layer: nn.Module,
        down: nn.Linear | nn.Conv2d,
        up: nn.Linear | nn.Conv2d,
        units: int,
        settings: Settings,
    ) -> None:
        nn.Module.__init__(self)
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict({_ADAPTER: down})
        self.bottleneck_up = nn.ModuleDict({_ADAPTER: up})
        self.r = {_ADAPTER: units}
        """As He et al. 2022 call it, https://arxiv.org/abs/2110.04366: the rank of U D."""
        self.merged_adapters: list[str] = []
        assert settings.non_linearity is not None
        assert settings.init_std is not None
        self._activation = _ACTIVATIONS[settings.non_linearity]
        spread = settings.init_std
        for part in (down, up):
            # Near the identity, as in the paper: a Gaussian that is cut at two deviations.
            nn.init.trunc_normal_(part.weight, std=spread, a=-2 * spread, b=2 * spread)
            nn.init.constant_(part.get_parameter("bias"), 0.0)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the answer of the layer with what the bottleneck adds; their shapes are equal."""
        made: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return made
        down, up = self.bottleneck_down[_ADAPTER], self.bottleneck_up[_ADAPTER]
        added: Tensor = up(self._activation(down(made)))
        return made + added


class BottleneckLinear(Bottleneck):
    """Behind a layer whose outputs are the last axis."""

    def __init__(self, base_layer: nn.Module, width: int, units: int, settings: Settings) -> None:
        like = _like(base_layer)
        down, up = nn.Linear(width, units, **like), nn.Linear(units, width, **like)
        super().__init__(base_layer, down, up, units, settings)


class BottleneckConv2d(Bottleneck):
    """Behind a convolution: the same at each place of the image."""

    def __init__(self, base_layer: nn.Module, width: int, units: int, settings: Settings) -> None:
        like = _like(base_layer)
        down, up = nn.Conv2d(width, units, 1, **like), nn.Conv2d(units, width, 1, **like)
        super().__init__(base_layer, down, up, units, settings)


def _like(layer: nn.Module) -> dict[str, Any]:
    """Return where the values of a layer lie, and their type."""
    weight = next(layer.parameters())
    return {"device": weight.device, "dtype": weight.dtype}


def bottleneck_behind(layer: nn.Module, settings: Settings) -> Bottleneck | None:
    """Return a layer with a new bottleneck behind it; None for a type that has no width."""
    made: type[BottleneckLinear | BottleneckConv2d]
    if isinstance(layer, nn.Linear):
        made, width = BottleneckLinear, layer.out_features
    elif isinstance(layer, Conv1D):
        made, width = BottleneckLinear, int(layer.nf)
    elif isinstance(layer, nn.Conv2d):
        made, width = BottleneckConv2d, layer.out_channels
    else:
        return None
    units = settings.bottleneck_size
    if units is None:
        assert settings.reduction_factor is not None
        units = max(1, int(width / settings.reduction_factor))
    return made(layer, width, units, settings)


def is_own(parameter: str) -> bool:
    """Tell by its name whether a parameter is one of a bottleneck."""
    return any(f".{part}." in f".{parameter}" for part in Bottleneck.adapter_layer_names)
