"""Attention in float32 while the linear layers compute in bfloat16, on a CPU.

torch's CPU kernel for attention in bfloat16 is slow on short texts, mostly in its backward pass:
in float32 an epoch takes a third less processor time (docs/measurements.md). The linear layers keep
bfloat16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

__all__ = ["attend_in_float32"]

_NAME = "sdpa_float32"


def attend_in_float32(model: PeftModel) -> None:
    """Let a model that uses torch's attention use it in float32; leave any other as it is."""
    inner = model.get_base_model()
    if inner.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(_NAME, _attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    inner.set_attn_implementation(_NAME)


def _attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    with torch.autocast(query.device.type, enabled=False):
        found, _ = sdpa_attention_forward(
            module,
            *map(_in_float32, (query, key, value, *args)),
            **{name: _in_float32(given) for name, given in kwargs.items()},
        )
    return found.to(query.dtype), None


def _in_float32(given: Any) -> Any:
    """Return a mask of numbers, or what T5 adds for positions, as query and key are."""
    return given.float() if isinstance(given, torch.Tensor) and given.is_floating_point() else given
