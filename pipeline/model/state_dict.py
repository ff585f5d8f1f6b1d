"""Weights by name in a file of torch or safetensors; nothing in the file is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_weights"]

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_INSIDE = ("state_dict", "model_state_dict", "model")
"""Under which keys training scripts put the weights, beside an optimizer and the like."""
_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def read_weights(file: Path, where: str = "model.weights") -> dict[str, Tensor]:
    """Return the tensors of a file by name, floats as float32.

    Raises:
        StageError: There is no such file, it is damaged, or holds something else; the message
            begins with `where`.
    """
    import torch

    if file.suffix not in _SUFFIXES:
        raise StageError(f"{where}: {file} must be one of {', '.join(_SUFFIXES)}")
    if not file.is_file():
        raise StageError(f"{where}: no such file: {file}")
    held = _held(file, where)
    inside = next((key for key in _INSIDE if isinstance(held.get(key), Mapping)), None)
    if inside is not None:
        held = held[inside]
    found = {str(name): value for name, value in held.items() if isinstance(value, torch.Tensor)}
    if not found:
        raise StageError(f"{where}: {file} holds no tensors by name, but {_keys(held)}")
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): value for name, value in found.items()}
    return {
        name: value.float() if value.is_floating_point() else value for name, value in found.items()
    }


def _held(file: Path, where: str) -> Mapping[str, Any]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        held = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise StageError(
            f"{where}: {file} holds more than weights, which would run code; write them alone: "
            "torch.save(model.state_dict(), ...). What is in it: python -m pipeline open "
            f"{file}"
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError, SafetensorError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise StageError(f"{where}: {file} is damaged ({said[0]}); get it again") from error
    if not isinstance(held, Mapping):
        raise StageError(f"{where}: {file} holds a {type(held).__name__}, not weights by name")
    return held


def _keys(held: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in list(held)[:6]) or "nothing"
