"""A folder that shows one graph, as that of a run does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.export.graph import save
from pipeline.export.picture import Architecture, bare
from pipeline.visualize import graph
from pipeline.visualize.report import Report
from pipeline.visualize.viewer import Shown, put_viewer

if TYPE_CHECKING:
    from onnx import ModelProto

    from pipeline.opening.models import Drawable

__all__ = ["draw", "put_onnx"]

_OPSET = 20
_OTHERWISE = "The graph opens in its own page instead"
_LEAD_ON = (
    '<!doctype html><meta charset="utf-8"><title>{title}</title>'
    '<meta http-equiv="refresh" content="0; url=netron/index.html">'
    '<a href="netron/index.html">The graph</a>\n'
)


def draw(drawable: Drawable, folder: Path) -> None:
    """Write the folded graph of a model and the page that shows it into `folder`.

    Raises:
        StageError: The model does something that cannot be traced.
    """
    axes = {name: {0: "batch"} for name in drawable.sample}
    if "input_ids" in drawable.sample:
        axes = {
            name: {0: "batch", 1: "tokens" if "decoder" not in name else "words"}
            for name in drawable.sample
        }
    drawn = Architecture(drawable.model, drawable.sample, axes, opset=_OPSET)
    placement = bare(drawable.model, drawn.operations, drawn.per)
    view = drawn.view(placement, title=drawable.title, facts=drawable.facts)
    target = _models(folder)
    save(view, target, weights=None)
    placement.save(folder / "placement.json")
    model = graph.read(target)
    seen = _put(folder, model, drawable.title)
    report = Report(
        model=model, placement=placement, tests={}, graph=seen, compare=False, pictures=(),
        rows=None,
    )  # fmt: skip
    report.write(folder, None)


def put_onnx(file: Path, folder: Path) -> None:
    """Write a page into `folder` that shows an ONNX file as it is, without its values.

    Raises:
        StageError: It is not ONNX.
    """
    try:
        model = graph.read(file)
        graph.put(model, file, _models(folder), weights=False)
    except ValueError as error:
        from pipeline.errors import StageError

        raise StageError(f"open: {file} is damaged ({error}); get it again") from error
    _put(folder, model, file.stem)
    page = _LEAD_ON.format(title="model")
    (folder / "index.html").write_text(page, encoding="utf-8")


def _models(folder: Path) -> Path:
    (folder / "models").mkdir()
    return folder / "models" / "adapted.onnx"


def _put(folder: Path, model: ModelProto, title: str) -> bool:
    shown = Shown(key="adapted", file="../models/adapted.onnx", title=title, marks=())
    return put_viewer(folder / "netron", [shown], graph.operators(model), otherwise=_OTHERWISE)
