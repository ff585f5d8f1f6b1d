"""Netron as a static page that shows any of the graphs beside it: `?model=base&node=NAME`."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pipeline.errors import MachineError
from pipeline.visualize.colours import UNTOUCHED, Mark

__all__ = ["Shown", "UnknownNetronError", "put_viewer"]

log = logging.getLogger(__name__)

_ASSETS = Path(__file__).parent / "assets" / "netron"
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
_OURS = ("preset.js", "sync.js", "LICENSE-netron.txt")

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A graph that the page can show."""

    key: str
    """Its name in the address: `adapted`."""
    file: str
    """Relative to the folder of the page: `../models/adapted.onnx`."""
    title: str
    marks: tuple[Mark, ...]


def put_viewer(folder: Path, shown: Sequence[Shown], operators: Collection[str]) -> bool:
    """Write Netron into `folder`, to show the first of `shown` unless `?model=` asks otherwise.

    Args:
        folder: Of the page alone; made here.
        shown: The graphs.
        operators: Types of the nodes in all graphs: those that Netron is to know the schemas of.

    Returns:
        Whether it was written. A Netron that differs where we rely on it gets a line of warning,
        and no folder.

    Raises:
        MachineError: There is no Netron.
    """
    installed = _installed()
    try:
        page = _page(_read(installed, "index.html"))
        _check(installed)
    except UnknownNetronError as error:
        log.warning(
            "visualize: cannot use netron %s: %s. The graph opens in its own page instead, without "
            "colours and links; for ours: pip install netron==%s",
            version("netron"), error, _SUPPORTED,
        )  # fmt: skip
        return False
    folder.mkdir()
    for name in _FILES:
        shutil.copyfile(installed / name, folder / name)
    for name in _OURS:
        shutil.copyfile(_ASSETS / name, folder / name)
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "models.js").write_text(_models(shown), encoding="utf-8")
    _keep_schemas(folder / "onnx-metadata.json", operators)
    with (folder / "grapher.css").open("a", encoding="utf-8") as style:
        style.write((_ASSETS / "legend.css").read_text(encoding="utf-8"))
    return True


def _installed() -> Path:
    """Return the folder of the package, without importing it: it would import its server."""
    spec = importlib.util.find_spec("netron")
    if spec is None or spec.origin is None:
        raise MachineError(f"visualize: needs the package netron; pip install netron=={_SUPPORTED}")
    return Path(spec.origin).parent


def _check(installed: Path) -> None:
    if missing := [name for name in _FILES if not (installed / name).is_file()]:
        raise UnknownNetronError(f"it has no {', '.join(missing)}")
    for name, relied_on in _RELIED_ON.items():
        source = _read(installed, name)
        if missing := [each for each in relied_on if each not in source]:
            raise UnknownNetronError(f"its {name} has no {missing[0]!r}")


def _read(installed: Path, name: str) -> str:
    try:
        return (installed / name).read_text(encoding="utf-8")
    except OSError as error:
        raise UnknownNetronError(f"it has no {name}") from error


def _page(page: str) -> str:
    """Return Netron's `index.html` changed so that it opens our graphs, alone and for ever.

    Raises:
        UnknownNetronError: The page is not the one we know.
    """
    index = '<script type="text/javascript" src="index.js"></script>'
    ours = "".join(f'<script src="{name}"></script>\n' for name in ("models.js", "preset.js"))
    # Netron asks for one script after the other, and for the schemas when it has the graph.
    ahead = [name for name in _FILES if name in _AT_ONCE]
    preload = "".join(f'<link rel="modulepreload" href="{name}">\n' for name in ahead)
    changes = {
        # Netron sends telemetry unless its version is 0.0.0, that of a development build.
        r'<meta name="version" content="[^"]*">': '<meta name="version" content="0.0.0">',
        # 180 days after this date it refuses to start.
        r'<meta name="date" content="[^"]*">\n': "",
        re.escape(index): f'{preload}{ours}<script src="sync.js"></script>\n{index}',
        # Whatever else it may try: no request to another machine.
        "script-src 'self'; frame-src 'none'": "script-src 'self'; frame-src 'none'; "
        "connect-src 'self'",
    }
    for pattern, replacement in changes.items():
        parts = re.split(pattern, page)
        if len(parts) != 2:
            raise UnknownNetronError(
                f"{pattern} is {len(parts) - 1} times in its index.html, not once"
            )
        page = replacement.join(parts)
    return page


_AT_ONCE = {
    "base.js", "browser.js", "dagre.js", "flatbuffers.js", "flexbuffers.js", "grapher.js",
    "hdf5.js", "json.js", "onnx-proto.js", "onnx.js", "protobuf.js", "python.js", "tar.js",
    "text.js", "view.js", "xml.js", "zip.js",
}  # fmt: skip


def _models(shown: Sequence[Shown]) -> str:
    """Return the script that tells the page which graphs there are, for `preset.js`."""
    told = {
        each.key: {
            "file": each.file,
            "title": each.title,
            "marks": [asdict(mark) for mark in each.marks],
        }
        for each in shown
    }
    untouched = {"text": UNTOUCHED.text, "colour": UNTOUCHED.colour}
    return f"window.__graft__ = {json.dumps({'models': told, 'untouched': untouched})};\n"


def _keep_schemas(file: Path, operators: Collection[str]) -> None:
    """Leave only the schemas of `operators` in the file: a sixtieth of 5.6 MB."""
    schemas = json.loads(file.read_text(encoding="utf-8"))
    kept = [each for each in schemas if each["name"] in operators]
    file.write_text(json.dumps(kept, separators=(",", ":")), encoding="utf-8")
