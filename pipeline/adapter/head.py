"""The head of a model: what is new when the labels are, and must train in full."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["head_of"]


def head_of(model: nn.Module, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the outermost modules that make up the head, in the model's order.

    Of a model in the layout of transformers that is what lies outside its body; if nothing there
    has an output a label, what has another shape with one label more. Of any other model it is
    the last layer with an output a label.

    Args:
        model: Without adapters, its head of `len(labels)` outputs; on any device.
        labels: Of the task.
    """
    own: tuple[str, ...] | None = getattr(model, "head_modules", None)
    if own is not None:  # a user's own model says itself
        return own
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    fitting = [name for name, shape in shapes.items() if shape[:1] == (len(labels),)]
    body = getattr(model, "base_model_prefix", "")
    if not (body and hasattr(model, body)):
        return tuple(name.rpartition(".")[0] for name in fitting[-1:])
    outside = [name for name in shapes if not name.startswith(f"{body}.")]
    found = {name.partition(".")[0] for name in outside}
    if not set(outside) & set(fitting):
        found |= {name.rpartition(".")[0] for name in _resized(model, len(labels), shapes)}
    return tuple(name for name, _ in model.named_modules() if name in found)


def _resized(model: PreTrainedModel, labels: int, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Return the parameters that have another shape, or exist only, with one label more."""
    import torch

    config = copy.deepcopy(model.config)
    config.num_labels = labels + 1
    with torch.device("meta"):
        other = type(model)._from_config(config)  # the one way to a model of the very same class
    changed = {name: tuple(value.shape) for name, value in other.named_parameters()}
    return [name for name, shape in shapes.items() if changed.get(name) != shape]
