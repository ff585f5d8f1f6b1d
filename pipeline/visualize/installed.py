"""The installed Netron: where it is, and whether it is one that our page can be made of."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.errors import MachineError

__all__ = ["FILES", "SUPPORTED", "UnknownNetronError", "assert_known", "find_netron", "read"]

SUPPORTED = "9.3.3"
"""The version of Netron our page was written against."""

# What Netron loads to show an ONNX file, and what it loads ahead for files it expects most; the
# whole package is 28 MB.
FILES = (
    "base.js", "browser.js", "dagre.js", "favicon.ico", "flatbuffers.js", "flexbuffers.js",
    "grapher.css", "grapher.js", "hdf5.js", "icon.png", "index.html", "index.js", "json.js",
    "message.js", "mlnet.js", "onnx-metadata.json", "onnx-proto.js", "onnx-schema.js", "onnx.js",
    "protobuf.js", "python.js", "pytorch-metadata.json", "pytorch.js", "tar.js", "text.js",
    "tflite-metadata.json", "tflite-schema.js", "tflite.js", "view.js", "worker.js", "xml.js",
    "zip.js",
)  # fmt: skip
# What our scripts use of Netron's, with the file that has it. Nobody promised to keep any of it.
_RELIED_ON = {
    "index.js": ("window.__view__ = new ",),
    "view.js": (
        "async _updatePath(model, stack)", "async _updateTarget(model, path)",
        "async pushTarget(graph, context)", "get activeTarget()", "get target()", "set zoom(value)",
        "`name-${value.name}`", "activate(", "scrollTo(selection, behavior)", "this._path[0].state",
        "async export(file)",
    ),
    "grapher.js": ("this.element.setAttribute('id', this.id)", "edge-paths-hit-test"),
    "browser.js": ("this._meta.file", "this._meta.name", "'consent'", "'0.0.0'", "async export("),
}  # fmt: skip


class UnknownNetronError(Exception):
    """The installed Netron is not one that this page can be made of; the message says why."""


def find_netron() -> Path:
    """Return the folder of the package, without importing it: it would import its server.

    Raises:
        MachineError: It is not installed.
    """
    spec = importlib.util.find_spec("netron")
    if spec is None or spec.origin is None:
        raise MachineError(f"visualize: needs the package netron; pip install netron=={SUPPORTED}")
    return Path(spec.origin).parent


def assert_known(installed: Path) -> None:
    """Raise UnknownNetronError where the installed one differs from what we rely on."""
    if missing := [name for name in FILES if not (installed / name).is_file()]:
        raise UnknownNetronError(f"it has no {', '.join(missing)}")
    for name, relied_on in _RELIED_ON.items():
        source = read(installed, name)
        if missing := [each for each in relied_on if each not in source]:
            raise UnknownNetronError(f"its {name} has no {missing[0]!r}")


def read(installed: Path, name: str) -> str:
    """Return the text of one of its files.

    Raises:
        UnknownNetronError: It has no such file.
    """
    try:
        return (installed / name).read_text(encoding="utf-8")
    except OSError as error:
        raise UnknownNetronError(f"it has no {name}") from error
