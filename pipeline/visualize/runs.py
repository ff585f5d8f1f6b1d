"""Two runs side by side, in a static folder of its own: `python -m pipeline compare RUN RUN`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import MachineError, StageError
from pipeline.visualize import graph
from pipeline.visualize.colours import RUNS, marks
from pipeline.visualize.compare import Row, Side, put_compare, totals
from pipeline.visualize.difference import between, side_roles
from pipeline.visualize.facts import Run, read_run
from pipeline.visualize.modules import read_placement
from pipeline.visualize.show import find_view
from pipeline.visualize.viewer import Shown, put_viewer

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["compare"]


def compare(left: Path, right: Path, home: Path = Path("outputs", "compare")) -> Path:
    """Write a folder that shows two runs side by side, without the values of their weights.

    Args:
        left: A run, as `find_view` takes it.
        right: The other.
        home: The folder is made in it, and named by the time.

    Returns:
        The folder.

    Raises:
        StageError: A run has no view, one of an earlier version, or a damaged one.
        MachineError: The folder cannot be written, or there is no Netron.
    """
    views = [_View(find_view(run, "compare")) for run in (left, right)]
    folder = _new(home)
    try:
        _write(folder, views)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _write(folder: Path, views: Sequence[_View]) -> None:
    found = between(views[0].placement, views[1].placement)
    (folder / "models").mkdir()
    shown = []
    for key, side, view in zip("ab", ("left", "right"), views, strict=True):
        graph.put(view.model, view.file, folder / "models" / f"{key}.onnx", weights=False)
        shown.append(
            Shown(
                key=key, file=f"../models/{key}.onnx", title=view.name,
                marks=marks(view.model, side_roles(found, side), RUNS),
            )
        )  # fmt: skip
    operators = frozenset().union(*(graph.operators(view.model) for view in views))
    seen = put_viewer(
        folder / "netron", shown, operators, otherwise="The list is shown without the graphs"
    )
    sides = tuple(
        Side(key=each.key, name=each.title, about=view.about, nodes=graph.names(view.model))
        for each, view in zip(shown, views, strict=True)
    )
    put_compare(
        folder / "index.html", f"{views[0].name} and {views[1].name}", (sides[0], sides[1]), found,
        rows=totals(views[0].placement, views[1].placement),
        settings=_settings(views[0].run, views[1].run), graph=seen,
    )  # fmt: skip


class _View:
    """What is read of one run's view."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "models" / "adapted.onnx"
        if not self.file.is_file() or not (folder / "placement.json").is_file():
            raise StageError(
                f"compare: {folder} was made by an earlier version and has no models/adapted.onnx "
                "and placement.json; run it again"
            )
        self.model: ModelProto = graph.read(self.file)
        self.placement = read_placement(folder / "placement.json")
        self.run: Run | None = read_run(folder)
        self.name = _name(self.run, folder.parent)
        self.about = self.placement.kind


def _name(run: Run | None, folder: Path) -> str:
    """Return the name of a run and its folder's, which tells it from others of that name."""
    own = folder.name
    if folder.parent.name.startswith("multirun_"):  # of a sweep, whose runs have a number each
        own = f"{folder.parent.name}/{own}"
    return own if run is None or run.name == own else f"{run.name}, {own}"


def _new(home: Path) -> Path:
    """Make and return a folder named by the time, as those of runs are."""
    name, number = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S"), 1
    while True:
        folder = home / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise MachineError(f"compare: cannot write to {folder}: {error.strerror}") from error
        else:
            return folder


def _settings(left: Run | None, right: Run | None) -> list[Row]:
    """Return the settings that differ, in the order of the left."""
    if left is None or right is None:
        return []
    return [
        (key, left.settings.get(key, ""), right.settings.get(key, ""))
        for key in dict.fromkeys((*left.settings, *right.settings))
        if left.settings.get(key) != right.settings.get(key)
    ]
