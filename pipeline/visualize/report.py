"""The report: totals, heat map and tree, with the graph beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.visualize.facts import Run, figures, sentence
from pipeline.visualize.graph import names
from pipeline.visualize.modules import described
from pipeline.visualize.pages import put_page

if TYPE_CHECKING:
    from onnx import ModelProto

    from pipeline.placement import Placement

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What the page `index.html` tells."""

    model: ModelProto
    """The graph that is shown."""
    placement: Placement
    tests: Mapping[str, float]
    """The task's metrics on the test split; none without training."""
    graph: bool
    """Whether Netron lies beside the page."""
    compare: bool
    """Whether `compare.html` does."""
    pictures: Sequence[str]
    """Files of `pictures/`."""

    def write(self, folder: Path, run: Run | None) -> None:
        """Write the page into `folder`, with what the manifest of the run says, if there is one."""
        title = self.model.graph.name or "model"
        data = {
            "title": title,
            "figures": figures(self.placement, self.tests, run),
            "facts": sorted((each.key, each.value) for each in self.model.metadata_props),
            "settings": list(run.settings.items()) if run is not None else [],
            "modules": described(self.placement, names(self.model)),
            "flops_per": self.placement.flops_per,
            "graph": self.graph,
            "compare": self.compare,
            "pictures": list(self.pictures),
        }
        texts = {"title": title, "about": sentence(self.model, self.placement, run)}
        files = ("page.css", "report.css", "page.js", "report.js", "map.js", "tree.js")
        put_page("report.html", folder / "index.html", texts, data, files)
