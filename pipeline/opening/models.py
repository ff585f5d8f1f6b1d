"""The model that a file belongs to, on torch's meta device: built, never guessed."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pipeline.consent import KEY, allows, granted
from pipeline.errors import StageError
from pipeline.model.config_file import read_config
from pipeline.opening.pickled import HARMLESS, read_pickle
from pipeline.own.archive import read_program
from pipeline.own.building import built, examined, without_values
from pipeline.own.classes import class_named, labels_argument
from pipeline.own.config import OwnConfig
from pipeline.pretrained import config_of

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.opening.asked import Asked
    from pipeline.opening.pickled import Tensor as Shape

__all__ = ["Drawable", "model_of"]

_TOKENS = 23
"""A number that is no width of a layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawable:
    """A model without values, and an example of its inputs."""

    model: nn.Module
    """On the meta device, in eval mode."""
    sample: Mapping[str, Tensor]
    title: str
    facts: Mapping[str, str]


def model_of(asked: Asked, kind: str, tensors: Mapping[str, Shape]) -> Drawable:
    """Return what is to be drawn.

    Raises:
        StageError: There is no consent for its class, it cannot be built, or the tensors of the
            file are not those of the model.
    """
    facts = {"file": asked.path.name}
    if kind == "pt2":
        program = read_program(asked.path, "open")
        told = OwnConfig(program=program, num_labels=program["outputs"])
        channels, height, width = program["image"]
        return _own(told, (2, channels, height, width), asked.path.stem, facts)
    if kind == "model" or asked.config is not None:
        made = _transformers(asked.config or asked.path, facts)
    elif asked.class_path is not None:
        made = _class(asked, tensors, facts)
    else:
        return _whole(asked, facts)
    _assert_same(asked.path, tensors, made.model)
    return made


def _own(
    config: OwnConfig, shape: tuple[int, ...], title: str, facts: Mapping[str, str]
) -> Drawable:
    with torch.device("meta"):
        module = built(config).eval()
        images = torch.zeros(shape)
    return Drawable(model=module, sample={_first_input(module): images}, title=title, facts=facts)


def _class(asked: Asked, tensors: Mapping[str, Shape], facts: Mapping[str, str]) -> Drawable:
    path = str(asked.class_path)
    config = OwnConfig(
        class_path=path,
        arguments=asked.kwargs,
        labels_as=labels_argument(class_named(path, "open: class_path"), asked.kwargs),
        image_size=asked.image_size,
        num_channels=asked.num_channels,
    )
    config = examined(config)
    if config.outputs is None:
        heads = [
            tensors[f"{part}.weight"] for part in config.head or [] if f"{part}.weight" in tensors
        ]
        config.num_labels = heads[0].shape[0] if heads else config.num_labels
    shape = (2, asked.num_channels, asked.image_size, asked.image_size)
    return _own(config, shape, path.rpartition(".")[2], facts)


def _whole(asked: Asked, facts: Mapping[str, str]) -> Drawable:
    """Load a whole module: of its classes only torch's layers and those with consent."""
    allowed: list[Any] = []
    for name in read_pickle(asked.path).asks_for:
        ours = allows(granted(), name)
        if ours or name.startswith("torch.nn.modules."):
            home, _, last = name.rpartition(".")
            found = getattr(importlib.import_module(home), last, None)
            if isinstance(found, type) and (ours or issubclass(found, nn.Module)):
                allowed.append(found)
        elif not name.startswith("torch.") and name not in HARMLESS:
            raise StageError(
                f"open: {asked.path} would also call {name}, which {KEY}={','.join(granted())} "
                "does not allow; it was not loaded"
            )
    try:
        with torch.serialization.safe_globals(allowed):
            module = torch.load(asked.path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file, or a class that has changed, anything
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise StageError(f"open: {asked.path} cannot be loaded: {said[0]}") from error
    shape = (2, asked.num_channels, asked.image_size, asked.image_size)
    module = without_values(module).eval()
    return Drawable(
        model=module,
        sample={_first_input(module): torch.zeros(shape, device="meta")},
        title=type(module).__name__,
        facts=facts,
    )


def _transformers(folder: Path, facts: Mapping[str, str]) -> Drawable:
    import transformers

    folder = folder.parent if folder.name == "config.json" else folder
    fields = read_config(folder)
    named = [*(fields.get("architectures") or ()), ""][0]
    config = config_of(folder)
    if isinstance(config, OwnConfig):
        config.source = None  # it is looked at, whatever was edited since
        size, channels = config.image_size, config.num_channels
        title = str(config.class_path or named).rpartition(".")[2]
        return _own(config, (2, channels, size, size), title, facts)
    cls: Any = getattr(transformers, str(named), None)
    known = isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)
    if not known:
        raise StageError(
            f"open: {folder / 'config.json'} does not say which class it is of (architectures: "
            f"{named or 'none'}); expected one of transformers, such as "
            "BertForSequenceClassification"
        )
    with torch.device("meta"):
        model: Any = cls._from_config(config, dtype=torch.float32).eval()
        sample = _sample(model)
    return Drawable(model=model, sample=sample, title=str(named), facts=facts)


def _sample(model: Any) -> dict[str, Tensor]:
    """Return an example of what a model of transformers takes."""
    if model.main_input_name == "pixel_values":
        size = getattr(model.config, "image_size", None) or 224
        height, width = size if isinstance(size, list | tuple) else (size, size)
        channels = getattr(model.config, "num_channels", 3)
        return {"pixel_values": torch.zeros(2, channels, height, width)}
    tokens = torch.ones(2, _TOKENS, dtype=torch.int64)
    found = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if model.config.is_encoder_decoder:
        found["decoder_input_ids"] = tokens[:, 1:]
    return found


def _first_input(module: nn.Module) -> str:
    return next(iter(inspect.signature(module.forward).parameters))


def _assert_same(path: Path, tensors: Mapping[str, Shape], model: nn.Module) -> None:
    """Refuse weights of another model: the picture would be of something else."""
    if not tensors:
        return
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: each.shape for name, each in tensors.items()}
    for wrapper in ("module.", "_orig_mod."):  # DataParallel, torch.compile
        if all(name.startswith(wrapper) for name in theirs):
            theirs = {name.removeprefix(wrapper): shape for name, shape in theirs.items()}
    wrong = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if wrong:
        first = wrong[0]
        raise StageError(
            f"open: {path} is not of {type(model).__name__}: {len(wrong)} of {len(ours)} weights "
            f"differ, first: {first}, {theirs.get(first, 'nothing')} in the file and "
            f"{ours.get(first, 'nothing')} in the model"
        )
