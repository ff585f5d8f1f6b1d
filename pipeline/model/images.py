"""The image processor of a model: there, whole, and making images that the model takes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import MachineError, StageError
from pipeline.model.config_file import read_json
from pipeline.tasks.pictures import channels_in

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PretrainedConfig, PreTrainedModel

    from pipeline.artifacts import BaseModel
    from pipeline.tasks import Task

__all__ = ["TIMM", "check_images", "check_packages", "load_processor", "plain_processor"]

TIMM = "timm_wrapper"
"""The type that transformers gives to a model of timm, whose own config names none."""
_FILE = "preprocessor_config.json"
_OTHER = "processor_config.json"
_USUAL = 224
"""Pixels of a side where a config does not say: that of most models since AlexNet."""


def check_packages(model_type: object, task: Task) -> None:
    """Refuse packages that a model of images needs and that are not to be had.

    Args:
        model_type: As transformers names it.
        task: Of the model.

    Raises:
        MachineError: Says what to install.
    """
    needed = "timm" if model_type == TIMM else "torchvision"
    if task.reads != "images" or (needed != "timm" and find_spec(needed) is None):
        return  # only timm cannot do without torchvision
    try:
        importlib.import_module(needed)
    except ModuleNotFoundError as error:
        raise MachineError(
            f"model: a timm model needs the package {error.name}, which is not installed; install "
            "graft-pipeline[timm]"
        ) from error
    except Exception as error:  # a torchvision that was built for another torch
        import torch

        said = " ".join(str(error).split())
        raise MachineError(
            f"model: the installed torchvision was not built for torch {torch.__version__} ({said})"
            "; install both from the same index, such as https://download.pytorch.org/whl/cpu, or "
            "remove it: only models of timm need it"
        ) from error


def load_processor(source: Path, fields: Mapping[str, Any]) -> BaseImageProcessor:
    """Return the image processor in a folder.

    It works with Pillow, whatever else is installed, so that every machine makes the same pixels.

    Args:
        source: With `preprocessor_config.json`.
        fields: Of its `config.json`: a model of timm has all of it there.

    Raises:
        StageError: There is none, it is damaged, or would need code of its author.
    """
    from transformers import AutoImageProcessor

    there = [source / name for name in (_FILE, _OTHER) if (source / name).is_file()]
    if not there and "pretrained_cfg" not in fields:
        raise StageError(
            f"model: no image processor in {source}: {_FILE} is not there; get it again"
        )
    for file in there:
        read_json(file)
    try:
        processor: BaseImageProcessor = AutoImageProcessor.from_pretrained(
            source, trust_remote_code=False, local_files_only=True, backend="pil"
        )
    except Exception as error:  # each class checks its fields in its own way
        raise StageError(
            f"model: no image processor in {source}: {type(error).__name__}: {_one_line(error)}"
        ) from error
    return processor


def plain_processor(config: PretrainedConfig) -> BaseImageProcessor:
    """Return an image processor for a model without a past: its size, values from -1 to 1."""
    from transformers import ViTImageProcessorPil

    height, width = _size(config)
    channels = channels_in(config)
    processor: BaseImageProcessor = ViTImageProcessorPil(
        size={"height": height, "width": width},
        image_mean=[0.5] * channels,
        image_std=[0.5] * channels,
        do_convert_rgb=channels == 3,
    )
    return processor


def _size(config: PretrainedConfig) -> tuple[int, int]:
    """Return height and width in pixels; timm's models have them elsewhere."""
    timm = (getattr(config, "pretrained_cfg", None) or {}).get("input_size")
    asked = (getattr(config, "model_args", None) or {}).get("img_size")
    size = asked or (timm[1:] if timm else getattr(config, "image_size", None)) or _USUAL
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def check_images(task: Task, base: BaseModel, model: PreTrainedModel, where: str) -> None:
    """Refuse an image processor that makes images of another shape than the model takes.

    Args:
        task: One that reads images.
        base: With config and image processor.
        model: Its architecture on the meta device.
        where: The message starts with it.

    Raises:
        StageError: Has the shape.
    """
    import torch

    channels = channels_in(model.config)
    try:
        pixels = task.example(base)["pixel_values"]
    except Exception as error:  # of each class of processor another
        raise StageError(
            f"{where}: the image processor makes nothing of an image of {channels} channels, as "
            f"config.json asks for: {_one_line(error)}; the two are not of the same model"
        ) from error
    shape = " x ".join(map(str, pixels.shape[1:]))
    if pixels.shape[1] != channels:
        raise StageError(
            f"{where}: the image processor makes images of {shape}, but the model reads "
            f"{channels} channels; the two are not of the same model"
        )
    try:
        with torch.no_grad():
            model(pixel_values=pixels.to("meta"))
    except Exception as error:
        said = _one_line(error)
        if "meta" in said:  # it looks at values, which are not there yet
            return
        raise StageError(
            f"{where}: the image processor makes images of {shape}, which the model does not "
            f"take: {said}; the two are not of the same model"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
