"""From a file to the lines that tell what it is, and a folder that shows its graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.consent import allows, granted
from pipeline.opening.kinds import kind_of, read_safetensors
from pipeline.opening.pickled import Held, Tensor, read_pickle
from pipeline.opening.said import (
    about_adapter,
    about_pickle,
    about_program,
    about_tensors,
    sized,
    why_not_drawn,
)
from pipeline.own.archive import read_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.opening.asked import Asked

__all__ = ["Opened", "opened"]

_TORCHSCRIPT = (
    "It has a graph, which Netron shows (netron FILE); to draw it here, export the model again "
    "with torch.export.save, as a .pt2."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What is said, and what there is to see."""

    lines: tuple[str, ...]
    drawn: bool
    """Whether the folder shows a graph."""


def opened(asked: Asked, folder: Path) -> Opened:
    """Look into a file; write a page with its graph into `folder` if it has one.

    Args:
        asked: The file, and the class or the config that it belongs to.
        folder: Empty.

    Raises:
        StageError: It is damaged, or none of the kinds known; or its class cannot be built, needs
            consent, or is not that of the weights.
    """
    kind, path = kind_of(asked.path), asked.path
    if kind == "onnx":
        from pipeline.opening.drawing import put_onnx

        put_onnx(path, folder)
        lines = [f"{path}: an ONNX graph, {sized(path)}, shown as it is"]
        return Opened(lines=tuple(lines), drawn=True)
    lines, tensors, held = _read(kind, path)
    drawn = kind in ("pt2", "model") or asked.class_path is not None or asked.config is not None
    if held is not None and held.kind == "module" and allows(granted(), held.modules[""]):
        drawn = True  # its class may be imported, so it may be loaded
    if kind in ("adapter", "torchscript"):
        return Opened(lines=tuple(lines), drawn=False)
    if not drawn:
        return Opened(lines=(*lines, *why_not_drawn(path, held)), drawn=False)
    from pipeline.opening.drawing import draw
    from pipeline.opening.models import model_of

    model = model_of(asked, kind, tensors)
    draw(model, folder)
    return Opened(lines=(*lines, f"Drawn as {model.title}."), drawn=True)


def _read(kind: str, path: Path) -> tuple[list[str], Mapping[str, Tensor], Held | None]:
    """Return what is said of a file, its tensors by name, and what is in it if it is a pickle."""
    if kind == "pickle":
        held = read_pickle(path)
        return about_pickle(path, held), held.tensors, held
    if kind == "safetensors":
        tensors, _ = read_safetensors(path)
        return about_tensors(path, tensors, "weights in safetensors"), tensors, None
    if kind == "pt2":
        lines = about_program(path, read_program(path, "open"))
    elif kind == "adapter":
        lines = about_adapter(path)
    elif kind == "model":
        lines = [f"{path}: a model of transformers"]
    else:
        lines = [
            f"{path}: a TorchScript program, {sized(path)}, a format that torch has given up",
            _TORCHSCRIPT,
        ]
    return lines, {}, None
