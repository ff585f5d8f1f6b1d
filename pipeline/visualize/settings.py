"""The settings of a run as its manifest has them, for pages that are handed on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.visualize.pages import Figure

__all__ = ["told"]

_IN_A_FOLDER = re.compile(r"file:|~|\.{1,2}[/\\]|[a-z]:[/\\]|/|\\\\", re.IGNORECASE)
"""How a path begins that says where it is; a pattern of module names may begin with `.*\\`."""
_OF_A_FILE = ("path", "train", "validation", "test", "file")
"""How the names of settings end that are paths, whatever these begin with."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def told(stage: Mapping[str, Any]) -> list[Figure]:
    """Return the class of a stage and its settings; of one that did not train the class alone."""
    name = stage["stage"]
    by = [(name, stage["by"].rpartition(".")[2])] if "by" in stage else []
    if stage.get("facts", {}).get("steps") == 0:
        return by
    return by + _flat(name, stage.get("settings", {}))


def _flat(name: str, value: Any) -> list[Figure]:
    if isinstance(value, dict):
        return [each for key, inner in value.items() for each in _flat(f"{name}.{key}", inner)]
    return [(name, _text(name, value))]


def _text(name: str, value: Any) -> str:
    """Return a setting as text; of a path of the machine only the last name."""
    if isinstance(value, list):
        return ", ".join(_text(name, each) for each in value)
    text = "none" if value is None else str(value)
    is_file = name.endswith(_OF_A_FILE) and not _HUB_ID.fullmatch(text)
    if is_file or _IN_A_FOLDER.match(text):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1] or text
    return text
