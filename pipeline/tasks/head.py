"""The head of a model: what lies outside the body that was pretrained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["check_head_trains"]


def check_head_trains(model: PeftModel) -> None:
    """Refuse a model with a part of its head frozen: it may be random, and would stay so.

    PEFT keeps the head of a task trainable only when it knows the task's type and the head's name.

    Raises:
        StageError: Names the first parameter of the head that would not train.
    """
    inner = model.get_base_model()
    body = f"{inner.base_model_prefix}."
    asleep = [
        name
        for name, value in inner.named_parameters()
        if not (name.startswith(body) or ".original_module." in name or value.requires_grad)
    ]
    if asleep:
        raise StageError(
            f"adapter.modules_to_save: the head ({asleep[0]}) would stay frozen at random values; "
            f"name it here, such as adapter.modules_to_save=[{asleep[0].partition('.')[0]}]"
        )
