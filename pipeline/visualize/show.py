"""Show a view in a browser, or say how to."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import time
import webbrowser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from pipeline.artifacts import View

__all__ = ["asked_port", "find_view", "how_to_look", "should_open", "show"]

log = logging.getLogger(__name__)

_IR_VERSION = b"\x08"
"""The first byte of an ONNX file: the tag of field 1 of `ModelProto`, which all have."""


def find_view(run: Path, command: str = "open") -> Path:
    """Return the static folder that belongs to `run`.

    Args:
        run: A run folder, a folder of runs with `latest` in it, the stage's own folder, or a
            `manifest.json`; to open, also a comparison or a folder of them, which stands for the
            newest. The one word `latest` stands for the newest run below `outputs`.
        command: What asks, as messages begin.

    Raises:
        StageError: There is none, or its graph is not ONNX; the message says where it was looked
            for.
    """
    try:
        exists = run.exists()
    except OSError as error:  # a name that is too long, a folder of somebody else
        raise StageError(f"{command}: cannot look at {run}: {error.strerror}") from error
    if not exists:
        # A link may be left over from a run that was deleted.
        there = [each for each in Path("outputs").glob("*/latest") if each.exists()]
        if str(run) != "latest" or not there:
            here = ", ".join(map(str, sorted(there))) or "none below outputs"
            raise StageError(
                f"{command}: {run} does not exist; give a run folder, such as one below "
                f"{Path('outputs').absolute()}. Runs here: {here}"
            )
        run = max(there, key=lambda each: each.stat().st_mtime)
    root = run.parent if run.name == "manifest.json" else run
    for place in (root, root / "latest"):
        for folder in (place, *place.glob("*_visualize")):
            graphs = (*folder.glob("models/*.onnx"), *folder.glob("model.onnx"))
            if graphs and (folder / "index.html").is_file():
                _assert_onnx(graphs, command)
                return folder.resolve()  # `latest` may point elsewhere in a minute
    if command == "open" and (comparisons := _comparisons(root)):
        return max(comparisons, key=lambda each: each.stat().st_mtime).resolve()
    if any((place / "manifest.json").is_file() for place in (root, root / "latest")):
        why = "The run did not get that far, as its manifest.json tells; start it again"
    else:
        why = "It is no run; give a folder that has a manifest.json"
    raise StageError(f"{command}: nothing to look at in {root}: no 6_visualize/index.html. {why}")


def _assert_onnx(graphs: Iterable[Path], command: str) -> None:
    """Look at the first byte: Netron would show its error only in the browser."""
    for file in graphs:
        first = b""
        if file.is_file():
            with file.open("rb") as stream:
                first = stream.read(1)
        if first != _IR_VERSION:
            raise StageError(f"{command}: {file.absolute()} is not an ONNX file; run it again")


def _comparisons(home: Path) -> list[Path]:
    """Return the folders in `home`, such as `outputs/compare`, that show two runs."""
    return [
        page.parent
        for page in home.glob("*/index.html")
        if (page.parent / "models" / "a.onnx").is_file()
    ]


def asked_port(folder: Path) -> int:
    """Return `visualize.port` of the run that the view belongs to; 0, any, when it tells none."""
    try:
        stages = json.loads((folder.parent / "manifest.json").read_bytes())["stages"]
        ports = [each["settings"]["port"] for each in stages if each["stage"] == "visualize"]
    except (OSError, ValueError, KeyError, TypeError):  # a view that was copied elsewhere
        return 0
    known = ports and isinstance(ports[0], int) and 0 <= ports[0] <= 65535
    return ports[0] if known else 0


def should_open(setting: str) -> bool:
    """Tell whether to open a browser by ourselves.

    Args:
        setting: `always`, `never`, or `auto`: when a person sits at this terminal, this is no CI
            job and there is a browser on this machine.
    """
    if setting != "auto":
        return setting == "always"
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        return False
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not screen:
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def show(view: View) -> None:
    """Serve the view until Ctrl-C, and open it in the browser where `should_open` says so.

    Raises:
        MachineError: The port is in use.
    """
    from pipeline.visualize.server import Server

    with (
        Server(view.folder, view.port) as server,
        suppress(KeyboardInterrupt),
        _stock_if_needed(view.folder),
    ):
        # No log: this is the answer the user waits for.
        said = f"The graph is at {server.address}\nPress Ctrl-C to stop."
        print(said, flush=True)  # noqa: T201
        if should_open(view.open):
            webbrowser.open(server.address)
        while True:
            time.sleep(3600)


@contextmanager
def _stock_if_needed(folder: Path) -> Iterator[None]:
    """Serve the graph in Netron as it comes, on this machine, if the folder has no page of it."""
    graph = folder / "models" / "adapted.onnx"
    if (folder / "netron").is_dir() or not graph.is_file():
        yield
        return
    import netron

    host, port = netron.start(str(graph), address=("localhost", 0), browse=False)
    log.warning(
        "visualize: the folder was written without our page of Netron; its own, which may ask "
        "other machines, shows the graph at http://%s:%s/",
        host,
        port,
    )
    try:
        yield
    finally:
        netron.stop((host, port))


def how_to_look(folder: Path) -> str:
    """Return the lines that tell how to open the view of a run.

    Args:
        folder: The run folder.
    """
    near = Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    return f"To look at the graph:  {_command()} open {shlex.quote(str(near))}"


def _command() -> str:
    """Return the command that started this run, as the user would type it again."""
    if script := os.environ.get("GRAFT_COMMAND"):  # scripts/run says its own name
        return script
    return "graft" if Path(sys.argv[0]).stem == "graft" else "python -m pipeline"
