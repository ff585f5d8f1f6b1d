"""The adapter added into the base weights, where its kind can be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from peft.utils import ModulesToSaveWrapper

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["merged"]

log = logging.getLogger("pipeline.export")


def merged(model: PeftModel) -> PreTrainedModel | None:
    """Return the model with its adapter in its weights; None, and a line in the log, if none can.

    The model is of no use afterwards. Prompts and what is not linear cannot be merged, nor an
    update of a bias into a layer without one.
    """
    why = ""
    merge = getattr(model, "merge_and_unload", None)
    if merge is not None:
        try:
            return _alone(merge())
        except (NotImplementedError, ValueError) as error:  # as PEFT says it
            why = f" ({' '.join(str(error).split()).rstrip('.')})" if str(error) else ""
    kind = model.peft_config["default"].peft_type.value
    log.info("    %s cannot be merged into the weights%s: no merged/, no merged.onnx", kind, why)
    return None


def _alone(model: PreTrainedModel) -> PreTrainedModel:
    """Return a merged model with what trained in full in its place: LN tuning leaves it wrapped."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[module.active_adapter])
    return model
