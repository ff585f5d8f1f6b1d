"""The report: totals, heat map and tree, with the graph beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.visualize.facts import Run, figures, sentence
from pipeline.visualize.graph import names
from pipeline.visualize.modules import described
from pipeline.visualize.pages import put_page

if TYPE_CHECKING:
    from onnx import ModelProto

    from pipeline.placement import Placement

__all__ = ["Report", "read_preview"]


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
    rows: Mapping[str, Any] | None
    """The preview of the examples, as the data stage wrote it; None if there were none."""

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
            "rows": self.rows,
        }
        texts = {"title": title, "about": sentence(self.model, self.placement, run)}
        files = ("page.css", "report.css", "page.js", "report.js", "map.js", "tree.js",
                 "rows.js")  # fmt: skip
        put_page("report.html", folder / "index.html", texts, data, files)


def read_preview(file: Path | None) -> Mapping[str, Any] | None:
    """Return the preview of the examples.

    Raises:
        StageError: It cannot be read.
    """
    if file is None:
        return None
    try:
        told = json.loads(file.read_bytes())
        return {"splits": dict(told["splits"]), "lengths": told["lengths"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(
            f"visualize: cannot read {file} ({error}); run the stage data again"
        ) from error
