"""The stage: Netron and the graph in one static folder."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.artifacts import ExportedModel, View
from pipeline.errors import MachineError, StageError
from pipeline.visualize.colours import Mark, marks, style_sheet

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Netron"]

_ASSETS = Path(__file__).parent / "assets"
_SUPPORTED = "9.3.3"
"""The version of Netron this module was written against."""

# What Netron loads to show an ONNX file, and what it loads ahead for files it expects most; the
# whole package is 28 MB.
_FILES = (
    "base.js", "browser.js", "dagre.js", "favicon.ico", "flatbuffers.js", "flexbuffers.js",
    "grapher.css", "grapher.js", "hdf5.js", "icon.png", "index.html", "index.js", "json.js",
    "message.js", "mlnet.js", "onnx-metadata.json", "onnx-proto.js", "onnx-schema.js", "onnx.js",
    "protobuf.js", "python.js", "pytorch-metadata.json", "pytorch.js", "tar.js", "text.js",
    "tflite-metadata.json", "tflite-schema.js", "tflite.js", "view.js", "worker.js", "xml.js",
    "zip.js",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Netron:
    """Write a folder that any web server can serve; `index.html` shows the adapted model.

    The folder asks nothing of other machines, has no path of this one, and does not expire.
    """

    open: Literal["auto", "always", "never"]
    """When to show it after a run; `auto`: when a person and a browser are there."""
    port: int
    """Port on localhost while it is shown; 0: any free one."""
    weights: bool
    """Whether the values of the weights go into the folder; without them it shows shapes."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: must be 0 to 65535, got {self.port}")

    def run(self, given: ExportedModel, folder: Path) -> View:
        model = _read(given.view)
        _put_netron(folder, model.graph.name or "model", marks(model))
        if self.weights:
            shutil.copyfile(given.view, folder / "model.onnx")
            for name in _data_files(model):
                _put_data(name, given.view.parent, folder)
        else:
            _forget_values(model)
            (folder / "model.onnx").write_bytes(model.SerializeToString())
        for file in folder.iterdir():
            file.chmod(0o644)  # a web server runs as somebody else
        return View(folder=folder, open=self.open, port=self.port)


def _read(file: Path) -> ModelProto:
    """Return the graph without its weights.

    Raises:
        StageError: There is no such file, or it is not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(file, load_external_data=False)
    except FileNotFoundError as error:
        raise StageError(
            f"visualize: nothing to show, {file} does not exist; run the stage export again"
        ) from error
    except DecodeError as error:
        raise StageError(f"visualize: {file} is not an ONNX file") from error
    if not model.graph.node:  # protobuf reads some text files as an empty model
        raise StageError(f"visualize: {file} is not an ONNX file, or its graph is empty")
    return model


def _put_netron(folder: Path, title: str, found: tuple[Mark, ...]) -> None:
    installed = _installed()
    missing = [name for name in _FILES if not (installed / name).is_file()]
    if missing:
        raise _unsupported(f"it has no {', '.join(missing)}")
    for name in _FILES:
        shutil.copyfile(installed / name, folder / name)
    for name in ("preset.js", "LICENSE-netron.txt"):
        shutil.copyfile(_ASSETS / name, folder / name)
    page = folder / "index.html"
    page.write_text(_page(page.read_text(encoding="utf-8"), title, found), encoding="utf-8")
    with (folder / "grapher.css").open("a", encoding="utf-8") as style:
        style.write((_ASSETS / "legend.css").read_text(encoding="utf-8"))
        style.write(style_sheet(found))


def _installed() -> Path:
    """Return the folder of the package, without importing it: it would import its server."""
    spec = importlib.util.find_spec("netron")
    if spec is None or spec.origin is None:
        raise MachineError(f"visualize: needs the package netron; pip install netron=={_SUPPORTED}")
    return Path(spec.origin).parent


def _page(page: str, title: str, found: tuple[Mark, ...]) -> str:
    """Return Netron's `index.html` changed so that it opens our graph, alone and for ever.

    Raises:
        MachineError: The page of this Netron is not the one we know.
    """
    legend = json.dumps([{"colour": mark.colour, "text": mark.text} for mark in found])
    index = '<script type="text/javascript" src="index.js"></script>'
    changes = {
        # Netron sends telemetry unless its version is 0.0.0, that of a development build.
        r'<meta name="version" content="[^"]*">': '<meta name="version" content="0.0.0">',
        # 180 days after this date it refuses to start. It reads `file` and `name` in any place.
        r'<meta name="date" content="[^"]*">': '<meta name="file" content="model.onnx">\n'
        f'<meta name="name" content="{html.escape(title)}">',
        re.escape(index): f'<script type="text/javascript" src="preset.js" '
        f'data-legend="{html.escape(legend)}"></script>\n{index}',
        # Whatever else it may try: no request to another machine.
        "script-src 'self'; frame-src 'none'": "script-src 'self'; frame-src 'none'; "
        "connect-src 'self'",
    }
    for pattern, replacement in changes.items():
        parts = re.split(pattern, page)
        if len(parts) != 2:
            raise _unsupported(f"{pattern} is {len(parts) - 1} times in its index.html, not once")
        page = replacement.join(parts)
    return page


def _unsupported(why: str) -> MachineError:
    from importlib.metadata import version

    return MachineError(
        f"visualize: cannot use netron {version('netron')}: {why}; "
        f"supported is {_SUPPORTED}: pip install netron=={_SUPPORTED}"
    )


def _data_files(model: ModelProto) -> list[str]:
    """Return the names of the files in which the graph says its weights are."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    tensors = (each for each in model.graph.initializer if uses_external_data(each))
    return sorted({ExternalDataInfo(tensor).location for tensor in tensors})


def _put_data(name: str, beside: Path, folder: Path) -> None:
    """Copy a file of weights into `folder`.

    A link would save the space, but onnx refuses to read weights that have two names, here and
    in the export alike.

    Raises:
        StageError: `name` is not that of a file in the folder `beside`.
    """
    source = beside / name
    if Path(name).name != name or not source.is_file() or source.is_symlink():
        raise StageError(
            f"visualize: the graph says its weights are in {name!r}, which is not a file in "
            f"{beside}; run the stage export again, or set visualize.weights=false"
        )
    shutil.copyfile(source, folder / name)


def _forget_values(model: ModelProto) -> None:
    """Empty every weight that the file itself holds; shapes, scalars and integers stay."""
    from math import prod

    from onnx import TensorProto
    from onnx.external_data_helper import uses_external_data

    exact = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}
    for tensor in model.graph.initializer:
        if tensor.data_type in exact or prod(tensor.dims) <= 1 or uses_external_data(tensor):
            continue
        shape = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        shape.data_location = TensorProto.EXTERNAL
        shape.external_data.add(key="location", value="left-out")
        tensor.CopyFrom(shape)
