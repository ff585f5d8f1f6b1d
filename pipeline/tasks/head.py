"""The head of a model: what lies outside the body that was pretrained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.fit import outside_body, shapes

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["check_head_trains", "saved_head"]


def check_head_trains(model: PeftModel) -> None:
    """Refuse a model with a part of its head frozen: it may be random, and would stay so.

    PEFT keeps the head of a task trainable only when it knows the task's type and the head's name.

    Raises:
        StageError: Names the first parameter of the head that would not train.
    """
    inner = model.get_base_model()
    values = {
        _in_base(name): value
        for name, value in inner.named_parameters()
        if ".original_module." not in name
    }
    head = outside_body(inner, values)
    asleep = [name for name, value in values.items() if name in head and not value.requires_grad]
    if not asleep:
        return
    said = f"the head ({asleep[0]}) would stay frozen at random values"
    settings = model.peft_config["default"]
    if hasattr(settings, "modules_to_save"):
        name = asleep[0].partition(".")[0]
        raise StageError(
            f"adapter.modules_to_save: {said}; name it here, such as "
            f"adapter.modules_to_save=[{name}]"
        )
    raise StageError(
        f"adapter: {settings.peft_type.value} trains no module in full, so {said}; choose another "
        "adapter, or a task without a new head, such as model.task=causal_lm"
    )


def _in_base(name: str) -> str:
    """Return the name that a parameter has without PEFT's wrappers around its module."""
    return name.replace(".modules_to_save.default.", ".").replace(".base_layer.", ".")


def saved_head(
    model: PreTrainedModel, files: Sequence[Path], names: Sequence[str], labels: Sequence[str]
) -> str | None:
    """Return in a sentence what becomes of a head that was saved with the weights, if one was.

    Args:
        model: With its new labels.
        files: Its weights.
        names: The labels it was saved with.
        labels: Those it has now.
    """
    saved = shapes(files)
    ours = dict(model.named_parameters())
    for name in sorted(outside_body(model, ours)):
        if name not in saved or not saved[name].shape or ours[name].shape[0] != len(labels):
            continue  # not there, or not the layer with an output a label
        if (outputs := saved[name].shape[0]) != len(labels):
            return f"the head of {outputs} labels is replaced by a new one of {len(labels)}"
        if tuple(names) != tuple(labels):
            return (
                f"the head that was trained for the labels {_some(names)} starts as the one for "
                f"{_some(labels)}"
            )
        return "the head that was saved with the model goes on"
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
