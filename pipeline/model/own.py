"""What a user's own class and an exported program share: images in, a folder out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.artifacts import BaseModel, HashedFile
from pipeline.errors import StageError
from pipeline.fit import outside_body
from pipeline.own import register
from pipeline.seal import sha256

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.own.config import OwnConfig

__all__ = ["Images", "check_size", "finished"]

log = logging.getLogger(__name__)

_AUTO_CLASS = "AutoModelForImageClassification"
_FILE = "model.safetensors"
_MOST_PIXELS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """How images become the numbers that the model was, or will be, trained with."""

    task: Literal["image_classification"]
    image_mean: tuple[float, ...]
    """Of each channel, taken off values from 0 to 1."""
    image_std: tuple[float, ...]
    """Of each channel; what is left is divided by it."""

    def __post_init__(self) -> None:
        if len(self.image_mean) != len(self.image_std):
            raise ValueError(
                f"image_std must have a number for each of the {len(self.image_mean)} of "
                f"image_mean, got {list(self.image_std)}"
            )
        if any(not 0 < each < float("inf") for each in self.image_std):
            raise ValueError(f"image_std must be above 0, got {list(self.image_std)}")


def check_size(image_size: int, num_channels: int, channels: Sequence[float]) -> None:
    """Refuse images of an impossible shape.

    Raises:
        ValueError: Names the key.
    """
    if not 1 <= image_size <= _MOST_PIXELS:
        raise ValueError(f"image_size must be from 1 to {_MOST_PIXELS}, got {image_size}")
    if num_channels not in (1, 3):
        raise ValueError(
            f"num_channels must be 1 (grey) or 3 (red, green, blue), got {num_channels}"
        )
    if len(channels) != num_channels:
        raise ValueError(
            f"image_mean and image_std must have a number for each of {num_channels} channels, got "
            f"{len(channels)}"
        )


def finished(
    config: OwnConfig,
    values: Mapping[str, Tensor] | None,
    folder: Path,
    *,
    asked: Images,
    name: str,
    told: str,
    look: bool,
) -> BaseModel:
    """Write config, image processor and weights, and return the model.

    Args:
        config: As `examined` gives it.
        values: The weights by name, also without those of the head; None: architecture alone.
        folder: The stage's own.
        asked: The settings of the images.
        name: What to call it in files that leave this machine.
        told: Where it comes from, for the record.
        look: Check the shapes of `values` and write none of them.

    Raises:
        StageError: They do not fit the model, or are not finite.
    """
    from safetensors.torch import save_file
    from transformers import ViTImageProcessorPil

    register()
    size, channels = config.image_size, config.num_channels
    config.architectures = ["OwnModel"]
    config.save_pretrained(folder)
    ViTImageProcessorPil(
        size={"height": size, "width": size},
        image_mean=list(asked.image_mean),
        image_std=list(asked.image_std),
        do_convert_rgb=channels == 3,
    ).save_pretrained(folder)
    weights: tuple[HashedFile, ...] = ()
    if values is not None:
        _check_fits(config, values, told)
    if values is not None and not look:
        file = folder / _FILE
        save_file({key: each.contiguous().clone() for key, each in values.items()}, file)
        weights = (HashedFile(path=file, sha256=sha256(file), size=file.stat().st_size),)
        log.info("    %s, %s, %.1f MB of weights", name, told, file.stat().st_size / 1e6)
    return BaseModel(
        folder=folder,
        weights=weights,
        name=name,
        repo_id=None,
        revision=None,
        source=told,
        task=asked.task,
        auto_class=_AUTO_CLASS,
    )


def _check_fits(config: OwnConfig, values: Mapping[str, Tensor], told: str) -> None:
    """Refuse weights that are not those of the model; a head may be missing or of another size.

    Raises:
        StageError: Counts those that do not fit and names the first, or is of one not finite.
    """
    import torch

    from pipeline.own.model import OwnModel

    with torch.device("meta"):
        model = OwnModel(config)
    ours = model.state_dict()
    tied = set(model.all_tied_weights_keys)
    free = outside_body(model, ours) if config.outputs is None else set()
    wrong = [
        name
        for name in ours
        if name not in free | tied
        and (name not in values or values[name].shape != ours[name].shape)
    ]
    foreign = sorted(set(values) - set(ours))
    if wrong or foreign:
        first = wrong[0] if wrong else foreign[0]
        had, wants = (
            tuple(each[first].shape) if first in each else None for each in (values, ours)
        )
        raise StageError(
            f"model.weights: {told} does not fit {_class(config)}: of its {len(ours)} weights "
            f"{len(wrong)} are missing or have another shape, and {len(foreign)} others are there; "
            f"first: {first}, {had or 'nothing'} in the file and {wants or 'nothing'} in the model"
        )
    for name, value in values.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise StageError(f"model.weights: {told}: {name} has NaN or Inf; get it again")


def _class(config: OwnConfig) -> str:
    return str(config.class_path or "the program")
