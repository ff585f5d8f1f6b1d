"""What a call node says of the group of nodes that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from pipeline.export.graph.scopes import Scope

__all__ = ["Outline"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """How a group of nodes shall look from outside."""

    domain: str
    op_type: str
    name: str
    """Name of the call node: the path in the base model, and `#2` for a second part."""
    path: str
    """Torch path of the module that the group is."""
    parents: tuple[Scope, ...]
    """The modules around the call node."""
    shared: bool
    """Whether groups with equal insides call one function. Its formal inputs have short names; the
    function of a single group names them like the weights, which makes Netron draw these inside."""
    doc: str
    formal: Callable[[str], str] = str
    """From the name of a weight to the name of the formal input."""
    argument: Callable[[ir.Value], str | None] = lambda _: None
    """Name for a formal input that is no weight."""
    output: Callable[[ir.Value], str] = lambda _: "y"
    """Name for a formal output."""
    attributes: Mapping[str, int | float] = field(default_factory=dict)
    live: str = ""
    """The attribute that replaces the equal constant in a product of the group's own module."""
    told: Callable[[str], Mapping[str, str]] = lambda _: {}
    """What to say of the module of this name."""
    module: str = ""
    """The name to say it of: the path in the base model."""
