"""Stage 6: turn the exported graph into a folder a person can look at, and show it."""

from __future__ import annotations

from pipeline.visualize.netron import Netron
from pipeline.visualize.runs import compare
from pipeline.visualize.show import asked_port, find_view, how_to_look, should_open, show

__all__ = [
    "Netron", "asked_port", "compare", "find_view", "how_to_look", "should_open", "show",
]  # fmt: skip
