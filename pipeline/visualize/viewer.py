"""Netron as a static page that shows any of the graphs beside it: `?model=base&node=NAME`."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pipeline.visualize.colours import UNTOUCHED, Mark
from pipeline.visualize.installed import (
    FILES,
    SUPPORTED,
    UnknownNetronError,
    assert_known,
    find_netron,
    read,
)

__all__ = ["Shown", "put_viewer"]

log = logging.getLogger(__name__)

_ASSETS = Path(__file__).parent / "assets" / "netron"
_OURS = ("preset.js", "sync.js", "LICENSE-netron.txt")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A graph that the page can show."""

    key: str
    """Its name in the address: `adapted`."""
    file: str
    """Relative to the folder of the page: `../models/adapted.onnx`."""
    title: str
    marks: tuple[Mark, ...]


def put_viewer(
    folder: Path, shown: Sequence[Shown], operators: Collection[str], *, otherwise: str
) -> bool:
    """Write Netron into `folder`, to show the first of `shown` unless `?model=` asks otherwise.

    Args:
        folder: Of the page alone; made here.
        shown: The graphs.
        operators: Types of the nodes in all graphs: those that Netron is to know the schemas of.
        otherwise: What the warning says becomes of the graphs when it is not written.

    Returns:
        Whether it was written. A Netron that differs where we rely on it gets a line of warning,
        and no folder.

    Raises:
        MachineError: There is no Netron.
    """
    installed = find_netron()
    try:
        page = _page(read(installed, "index.html"))
        assert_known(installed)
    except UnknownNetronError as error:
        log.warning(
            "visualize: cannot use netron %s: %s. %s; for ours: pip install netron==%s",
            version("netron"), error, otherwise, SUPPORTED,
        )  # fmt: skip
        return False
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(installed / name, folder / name)
    for name in _OURS:
        shutil.copyfile(_ASSETS / name, folder / name)
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "models.js").write_text(_models(shown), encoding="utf-8")
    _keep_schemas(folder / "onnx-metadata.json", operators)
    with (folder / "grapher.css").open("a", encoding="utf-8") as style:
        style.write((_ASSETS / "legend.css").read_text(encoding="utf-8"))
    return True


def _page(page: str) -> str:
    """Return Netron's `index.html` changed so that it opens our graphs, alone and for ever.

    Raises:
        UnknownNetronError: The page is not the one we know.
    """
    index = '<script type="text/javascript" src="index.js"></script>'
    ours = "".join(f'<script src="{name}"></script>\n' for name in ("models.js", "preset.js"))
    # Netron asks for one script after the other, and for the schemas when it has the graph.
    ahead = [name for name in FILES if name in _AT_ONCE]
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
