"""The page that shows two graphs side by side: before and after, or two runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.visualize.colours import ADAPTED, RUNS, UNTOUCHED
from pipeline.visualize.difference import Difference, before_and_after
from pipeline.visualize.graph import names
from pipeline.visualize.modules import sums
from pipeline.visualize.pages import number, put_page

if TYPE_CHECKING:
    from onnx import ModelProto

    from pipeline.placement import Placement

__all__ = ["Side", "put_before_and_after", "put_compare", "totals"]

_STATUSES = {
    "adapted": ("adapter added", ADAPTED[0].colour),
    "trained": ("trained in full", ADAPTED[1].colour),
    "bias": ("bias trained", ADAPTED[2].colour),
    "left": ("on the left only", RUNS[0].colour),
    "right": ("on the right only", RUNS[0].colour),
    "differs": ("set differently", RUNS[1].colour),
    "alike": ("set alike", RUNS[2].colour),
    "untouched": (UNTOUCHED.text, UNTOUCHED.colour),
    "missing": ("in one model only", UNTOUCHED.colour),
}
_AROUND = ("block around them: click ƒ", ADAPTED[3].colour)

Row = tuple[str, str, str]
"""What it is, on the left, on the right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two graphs."""

    key: str
    """As `?model=` of Netron's page knows it."""
    name: str
    about: str
    nodes: Collection[str]
    """Names of the nodes: what a link can lead to."""


def put_compare(
    target: Path,
    title: str,
    sides: tuple[Side, Side],
    found: Sequence[Difference],
    *,
    rows: Sequence[Row],
    settings: Sequence[Row],
    graph: bool,
) -> None:
    """Write the page.

    Args:
        target: The file; Netron is in `netron/` beside it.
        title: Of the page.
        sides: Left and right.
        found: Every module on both.
        rows: Totals.
        settings: Those that differ.
        graph: Whether Netron is there.
    """
    seen = {each.status for each in found}
    data = {
        "sides": [{"key": each.key, "name": each.name, "about": each.about} for each in sides],
        "statuses": [
            {"key": key, "text": text, "colour": colour}
            for key, (text, colour) in _STATUSES.items()
            if key in seen
        ],
        "around": {"text": _AROUND[0], "colour": _AROUND[1]},
        "modules": [
            {**asdict(each), "nodes": [_node(each.name, side.nodes) for side in sides]}
            for each in found
        ],
        "totals": list(rows),
        "settings": list(settings),
        "graph": graph,
        "report": (target.parent / "models" / "base.onnx").exists(),
    }
    files = ("page.css", "compare.css", "page.js", "compare.js")
    put_page("compare.html", target, {"title": title}, data, files)


def put_before_and_after(
    folder: Path, adapted: ModelProto, base: ModelProto, placement: Placement, *, graph: bool
) -> None:
    """Write `compare.html`: the base model beside the adapted one."""
    told = {entry.key: entry.value for entry in adapted.metadata_props}
    sides = (
        Side(
            key="base", name="Base model", about=told.get("base_model", ""), nodes=names(base)
        ),
        Side(
            key="adapted", name="With adapters", about=placement.kind, nodes=names(adapted)
        ),
    )  # fmt: skip
    # Where a module is trained in full beside its frozen original, only one of the two is new.
    before = {entry.key: entry.value for entry in base.metadata_props}.get("params.frozen", "")
    after = placement.frozen + placement.trainable
    rows = [
        ("parameters", number(int(before)) if before.isdecimal() else "", number(after)),
        ("of which train", "0", number(placement.trainable)),
        ("modules with an adapter", "0", number(len(placement.adapted))),
    ]
    put_compare(
        folder / "compare.html", f"{adapted.graph.name}: base and adapted", sides,
        before_and_after(placement), rows=rows, settings=(), graph=graph,
    )  # fmt: skip


def totals(left: Placement, right: Placement) -> list[Row]:
    """Return what two runs come to, as far as either tells."""
    ours, theirs = sums(left)[""], sums(right)[""]
    counts = [
        ("parameters", left.frozen + left.trainable, right.frozen + right.trainable),
        ("of which train", left.trainable, right.trainable),
        ("modules with an adapter", ours.adapters, theirs.adapters),
    ]
    found = [(name, number(a), number(b)) for name, a, b in counts]
    flops = (ours.adapter_flops, theirs.adapter_flops)
    if flops != (None, None):
        found.append(("FLOPs of the adapters", _said(flops[0], "G"), _said(flops[1], "G")))
    if (ours.update_norm, theirs.update_norm) != (None, None):
        found.append(("norm of the update", _norm(ours.update_norm), _norm(theirs.update_norm)))
    return [("adapter", left.kind, right.kind), *found]


def _said(value: float | None, billion: str = "B") -> str:
    return "" if value is None else number(value, billion)


def _norm(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _node(name: str, nodes: Collection[str]) -> str | None:
    while name and name not in nodes:
        name = name.rpartition(".")[0]
    return name or None
