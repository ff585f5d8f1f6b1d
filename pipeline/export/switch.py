"""What a model answers without what was trained, its trained head kept: whatever trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from pipeline.partial.model import PartialModel

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["changes_base", "switchable"]


def changes_base(model: PeftModel) -> bool:
    """Tell whether training changed weights of the base model itself, outside its head."""
    return isinstance(model, PartialModel) and model.changes_base


def switchable(model: PeftModel, before: PreTrainedModel | None) -> nn.Module | None:
    """Return what answers as the model does, with layers that PEFT's `enable_adapters` switches.

    None: the head alone was trained.

    Args:
        model: Trained.
        before: The base model as it was, if `changes_base`; it gets the trained head.
    """
    whole: nn.Module = model
    if any(isinstance(module, BaseTunerLayer) for module in whole.modules()):
        return whole
    if not isinstance(model, PartialModel):
        return _Switch(model, _without(model))
    if before is None:
        return None
    model.lend_head(before)
    return _Switch(model, before)


def _without(model: PeftModel) -> Callable[..., Any]:
    """Return what asks the model without what PEFT adds to it in other ways than by layers."""
    if not model.peft_config["default"].is_prompt_learning:
        return partial(_disabled, model)

    def without_prompt(**inputs: Any) -> Any:
        made, plain = model(**inputs), model.get_base_model()(**inputs)
        virtual = made.logits.shape[1] - plain.logits.shape[1] if made.logits.ndim > 2 else 0
        if virtual:  # the prompt has answers of its own, which are no part of the comparison
            plain.logits = torch.cat([made.logits[:, :virtual], plain.logits], 1)
        return plain

    return without_prompt


def _disabled(model: PeftModel, **inputs: Any) -> Any:
    with model.disable_adapter():
        return model(**inputs)


class _Switch(nn.Module, BaseTunerLayer):  # type: ignore[misc]  # PEFT has no types
    """To PEFT's tools one layer that can be switched off."""

    def __init__(self, model: nn.Module, without: Callable[..., Any]) -> None:
        nn.Module.__init__(self)
        self._with, self._without = model, without
        self._on = True

    def enable_adapters(self, enabled: bool) -> None:
        self._on = enabled

    def forward(self, **inputs: Any) -> Any:
        return (self._with if self._on else self._without)(**inputs)
