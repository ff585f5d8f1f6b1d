"""SVG and PNG of the graph, drawn by a browser of this machine from the folder's own page."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import MachineError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["draw", "way_to_an_adapter"]

log = logging.getLogger(__name__)

_SECONDS = 20.0
"""After which there are no pictures; they take about three."""


def draw(folder: Path, model: ModelProto, wanted: str) -> tuple[str, ...]:
    """Write pictures of the top level and of a block with an adapter into `folder/pictures`.

    Args:
        folder: With `netron/` in it.
        model: The adapted graph, which the page shows first.
        wanted: `never`; `auto`, when there is a browser; `always`.

    Returns:
        The names of the files.

    Raises:
        MachineError: They are always wanted and there is no browser, or it did not draw.
    """
    if wanted == "never":
        return ()
    from pipeline.visualize.browser import find_browser, visit
    from pipeline.visualize.studio import Studio

    program = find_browser()
    if program is None:
        return _without("no Chromium, Chrome or Edge on this machine draws them", wanted)
    with Studio(folder, way_to_an_adapter(model), _SECONDS) as studio:
        try:
            done = visit(program, studio.page, studio.done.wait, _SECONDS)
        except OSError as error:
            return _without(f"{program} does not start ({error.strerror})", wanted)
    if not done:
        return _without(f"{program} did not draw them within {_SECONDS:.0f} s", wanted)
    (folder / "pictures").mkdir()
    for name, content in studio.pictures.items():
        (folder / "pictures" / name).write_bytes(content)
    return tuple(studio.pictures)


def _without(why: str, wanted: str) -> tuple[str, ...]:
    if wanted == "always":
        raise MachineError(f"visualize.pictures=always: {why}; set it to auto to go on without")
    log.info("    no pictures: %s", why)
    return ()


def way_to_an_adapter(model: ModelProto) -> tuple[str, ...]:
    """Return the nodes to open, outermost first, to see the first adapter; empty without one.

    One that is in no block is opened itself.
    """
    functions = {(each.domain, each.name): each for each in model.functions}

    def way(nodes: Iterable[NodeProto]) -> list[str] | None:
        for node in nodes:
            if node.domain == "peft" and not node.op_type.startswith("Trained"):
                return []
            inside = functions.get((node.domain, node.op_type))
            if inside is not None and (rest := way(inside.node)) is not None:
                return [node.name, *rest]
        return None

    found = way(model.graph.node)
    if found == []:
        found = [next(node.name for node in model.graph.node if node.domain == "peft")]
    return tuple(found or ())
