"""From a config to the module it describes, and what a first look at that module tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StageError
from pipeline.own.classes import class_named, digest
from pipeline.own.config import OwnConfig
from pipeline.own.layers import head_of
from pipeline.own.program import Program

__all__ = ["built", "examined", "logits_of", "without_values"]

_ROWS = 2


def built(config: OwnConfig) -> nn.Module:
    """Return the module, with as many outputs as the config has labels.

    Raises:
        StageError: There is no consent, the class was edited since, it cannot be built, or its
            number of outputs is fixed and another one than that of the labels.
    """
    if config.outputs is not None and config.outputs != config.num_labels:
        raise StageError(
            f"{_name(config)} has {config.outputs} outputs, and there are "
            f"{config.num_labels} labels; let its __init__ take num_labels, or change model.kwargs"
        )
    if config.program is not None:
        try:
            return Program(config.program, config.num_labels)
        except StageError:
            raise
        except Exception as error:  # of a damaged graph
            raise StageError(
                f"model.path: the graph of the program is damaged: {_said(error)}; export it again"
            ) from error
    cls = class_named(str(config.class_path), "model.class_path")
    if config.source is not None and digest(str(config.class_path)) != config.source:
        raise StageError(
            f"model.class_path: the source of {config.class_path} was edited since this model was "
            "saved; start the run again"
        )
    arguments = dict(config.arguments or {})
    if config.labels_as is not None:
        arguments[config.labels_as] = config.num_labels
    try:
        return cls(**arguments)
    except Exception as error:  # a user's class may do anything
        if torch.get_default_device().type != "meta" or isinstance(error, TypeError):
            raise StageError(
                f"model.kwargs: {config.class_path}({_told(arguments)}) fails: {_said(error)}"
            ) from error
    with torch.device("cpu"):  # some classes read a value while they are built
        return without_values(cls(**arguments))


def without_values(module: nn.Module) -> nn.Module:
    """Move a module to the meta device: what is shared stays so, and nothing is left behind.

    `Module.to` parts tied weights, and leaves tensors that were never registered.
    """
    moved: dict[int, Tensor] = {}
    for part in module.modules():
        tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers, vars(part))
        for table in tables:
            for key, value in table.items():
                if not isinstance(value, Tensor):
                    continue
                if id(value) not in moved:
                    empty = value.detach().to("meta")
                    is_weight = isinstance(value, nn.Parameter)
                    moved[id(value)] = (
                        nn.Parameter(empty, value.requires_grad) if is_weight else empty
                    )
                table[key] = moved[id(value)]
    return module


def examined(config: OwnConfig) -> OwnConfig:
    """Return the config with the outputs and the head filled in: the module is built and run.

    Raises:
        StageError: As `built`; or the module makes no logits of images of this size.
    """
    told = config.to_dict()
    made: OwnConfig = OwnConfig.from_dict(told)
    outputs, last = _run(config)
    if config.program is not None:
        made.head, made.outputs = head_of(config.program)
        return made
    made.outputs = outputs
    if config.labels_as is None:
        made.head = [last] if last else []
        made.num_labels = made.outputs
        return made
    if made.outputs != config.num_labels:
        raise StageError(
            f"{_name(config)} has {made.outputs} outputs with "
            f"{config.labels_as}={config.num_labels}"
        )
    before, after = (_shapes(told, count) for count in (made.num_labels, made.num_labels + 1))
    changed = {
        name.rpartition(".")[0] or name: None for name in before if after.get(name) != before[name]
    }
    made.outputs, made.head = None, list(changed)
    return made


def _shapes(told: dict[str, Any], num_labels: int) -> dict[str, torch.Size]:
    config = OwnConfig.from_dict({**told, "id2label": None, "label2id": None})
    config.num_labels = num_labels
    with torch.device("meta"):
        return {name: value.shape for name, value in built(config).state_dict().items()}


def logits_of(made: Any) -> Tensor:
    """Return what a module returned, or the first tensor in it, or its `logits`.

    Raises:
        TypeError: There is none.
    """
    while not isinstance(made, Tensor):
        if getattr(made, "logits", None) is not None:
            made = made.logits
        elif isinstance(made, Mapping) and "logits" in made:
            made = made["logits"]
        elif isinstance(made, Mapping | list | tuple) and made:
            made = next(iter(made.values() if isinstance(made, Mapping) else made))
        else:
            raise TypeError(f"it returns a {type(made).__name__}, not logits")
    return made


def _run(config: OwnConfig) -> tuple[int, str]:
    """Return how many outputs a module has, and which of its parts with weights ran last."""
    shape = (_ROWS, config.num_channels, config.image_size, config.image_size)
    try:
        try:
            made, ran = _watched(config, shape, "meta")
        except StageError:
            raise
        except Exception:  # noqa: BLE001 - a forward may make tensors of its own, on the CPU
            made, ran = _watched(config, shape, "cpu")
    except StageError:
        raise
    except Exception as error:  # a user's forward may do anything
        raise StageError(
            f"{_name(config)} fails on images of the shape {shape}: {_said(error)}"
            + ("" if config.program else ". Do model.image_size and model.num_channels fit?")
        ) from error
    if made.ndim != 2 or made.shape[0] != _ROWS:
        raise StageError(
            f"{_name(config)} makes the shape {tuple(made.shape)} of {_ROWS} "
            f"images, not ({_ROWS}, labels)"
        )
    return int(made.shape[1]), ran[-1] if ran else ""


def _watched(config: OwnConfig, shape: tuple[int, ...], device: str) -> tuple[Tensor, list[str]]:
    ran: list[str] = []
    with torch.device(device), torch.no_grad():
        module = built(config).eval()
        for name, part in module.named_modules():
            if name and next(part.parameters(recurse=False), None) is not None:
                part.register_forward_hook(lambda *_, name=name: ran.append(name))
        return logits_of(module(torch.zeros(shape))), ran


def _name(config: OwnConfig) -> str:
    """Return what it is, as errors begin."""
    if config.program is not None:
        return "model.path: the program"
    return f"model.class_path: {config.class_path}"


def _told(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
