"""A deep model has more blocks than a person can take in: show them in tens."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from pipeline.export.graph.folding.fold import Folder
from pipeline.export.graph.folding.order import convex_parts
from pipeline.export.graph.folding.outline import Outline

__all__ = ["gather"]

_MOST = 24
"""Blocks, at most, that stay as they are: beyond, the edges to each of them fill the page."""
_SECTION = 10
_SUMMED = (
    "params.trainable",
    "params.frozen",
    "adapters",
    "flops.without_adapter",
    "flops.with_adapter",
)


def gather(view: ir.Model) -> None:
    """Put the blocks of a folded graph into sections of ten, if there are many in a row."""
    chains: dict[str, dict[int, ir.Node]] = defaultdict(dict)
    for node in view.graph:
        path, _, number = (node.name or "").rpartition(".")
        if node.domain and number.isdigit() and re.fullmatch(r".+_\d+", node.op_type):
            chains[path][int(number)] = node
    folder = Folder(view)
    for path, blocks in chains.items():
        if len(blocks) <= _MOST or set(blocks) != set(range(len(blocks))):
            continue
        for first in range(0, len(blocks), _SECTION):
            group = [blocks[n] for n in range(first, min(first + _SECTION, len(blocks)))]
            if len(group) > 1 and len(convex_parts(list(view.graph), group)) == 1:
                folder.contract(group, _section(view, path, first, group))


def _section(view: ir.Model, path: str, first: int, group: Sequence[ir.Node]) -> Outline:
    last = first + len(group) - 1
    formal = {
        value: argument.name
        for node in reversed(group)
        for value, argument in zip(
            node.inputs, view.functions[node.op_identifier()].inputs, strict=True
        )
    }
    told = _sums(group)
    return Outline(
        domain="nn",
        op_type=f"Blocks_{first}_to_{last}",
        name=f"{path}.{first}-{last}",
        path=path,
        parents=(),
        shared=False,
        doc=f"{len(group)} blocks of {path}, one after the other",
        argument=formal.get,
        output=lambda _: "output",
        told=lambda _: told,
    )


def _sums(group: Sequence[ir.Node]) -> Mapping[str, str]:
    """Sum up what the blocks say of themselves."""
    told = {
        key: str(sum(int(node.metadata_props.get(key, 0)) for node in group))
        for key in _SUMMED
        if any(key in node.metadata_props for node in group)
    }
    norms = [node.metadata_props.get("update.norm") for node in group]
    if any(norms):
        told["update.norm"] = f"{math.hypot(*(float(norm or 0) for norm in norms)):.4g}"
    return told
