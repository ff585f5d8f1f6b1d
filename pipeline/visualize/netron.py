"""The stage: a report, the graphs and Netron in one static folder."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.artifacts import ExportedModel, View
from pipeline.visualize import graph
from pipeline.visualize.colours import ADAPTED, BASE, marks, roles
from pipeline.visualize.compare import put_before_and_after
from pipeline.visualize.facts import read_run
from pipeline.visualize.installed import find_netron
from pipeline.visualize.modules import read_placement
from pipeline.visualize.pictures import draw
from pipeline.visualize.report import Report, read_preview
from pipeline.visualize.show import should_open
from pipeline.visualize.viewer import Shown, put_viewer

if TYPE_CHECKING:
    from onnx import ModelProto

    from pipeline.placement import Placement

__all__ = ["Netron"]

log = logging.getLogger(__name__)


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
    pictures: Literal["auto", "always", "never"]
    """When to draw SVG and PNG of the graph; `auto`: when there is a browser to draw them."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: must be 0 to 65535, got {self.port}")

    def run(self, given: ExportedModel, folder: Path) -> View:
        adapted, base = graph.read(given.view), graph.read(given.base_view)
        placement = read_placement(given.placement)
        (folder / "models").mkdir()
        graph.put(adapted, given.view, folder / "models" / "adapted.onnx", weights=self.weights)
        graph.put(base, given.base_view, folder / "models" / "base.onnx", weights=False)
        shutil.copyfile(given.placement, folder / "placement.json")
        seen = _put_netron(folder, adapted, base, placement)
        put_before_and_after(folder, adapted, base, placement, graph=seen)
        pictures = draw(folder, adapted, self.pictures) if seen else ()
        report = Report(
            model=adapted, placement=placement, tests=given.test_metrics,
            graph=seen, compare=True, pictures=pictures,
            rows=read_preview(given.preview),
        )  # fmt: skip
        report.write(folder, read_run(given.placement.parent))
        for file in folder.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)  # a web server runs as somebody else
        return View(folder=folder, open=self.open, port=self.port)

    def look(self, given: ExportedModel, folder: Path) -> View:
        """Check that Netron is installed, and that the port is free if it is needed at the end.

        Raises:
            MachineError: There is no Netron, or the port is in use.
        """
        from pipeline.visualize.server import Server

        find_netron()
        if self.port and should_open(self.open):
            with Server(folder, self.port):
                pass
        return View(folder=folder, open=self.open, port=self.port)


def _put_netron(folder: Path, adapted: ModelProto, base: ModelProto, placement: Placement) -> bool:
    """Write the page of the graphs; return whether the installed Netron could be used."""
    changed = roles(placement)
    title = adapted.graph.name or "model"
    shown = [
        Shown(
            key="adapted", file="../models/adapted.onnx", title=title,
            marks=marks(adapted, changed, ADAPTED),
        ),
        Shown(
            key="base", file="../models/base.onnx", title=f"{title}, base",
            marks=marks(base, changed, BASE),
        ),
    ]  # fmt: skip
    return put_viewer(
        folder / "netron", shown, graph.operators(adapted) | graph.operators(base),
        otherwise="The graph opens in its own page instead, without colours and links",
    )  # fmt: skip
