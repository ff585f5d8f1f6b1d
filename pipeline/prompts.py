"""The network that computes virtual tokens while they train, which PEFT does not save.

P-tuning, and prefix tuning with a projection, have one. PEFT keeps its outputs, which is all that
answers need; to go on training, the network is kept in a file of its own beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["load_encoder", "save_encoder"]

_ENCODER = "prompt_encoder.safetensors"


def save_encoder(model: PeftModel, folder: Path) -> None:
    """Write the network that computes virtual tokens, if the adapter has one that trains."""
    from safetensors.torch import save_file

    encoder = getattr(model, "prompt_encoder", None)
    if encoder is None or model.peft_config["default"].inference_mode:
        return
    tensors = {name: value.detach().contiguous() for name, value in encoder.state_dict().items()}
    if len(tensors) > 1:  # else it is what PEFT saves
        save_file(tensors, folder / _ENCODER, metadata={"format": "pt"})


def load_encoder(model: PeftModel, folder: Path) -> None:
    """Give a model with virtual tokens that train the network of a folder, if it has one.

    Raises:
        RuntimeError: Its weights are not those that the settings ask for.
    """
    from safetensors.torch import load_file

    if (file := folder / _ENCODER).is_file():
        model.prompt_encoder.load_state_dict(load_file(file))
