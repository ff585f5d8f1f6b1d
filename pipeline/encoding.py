"""An artifact as JSON that still holds when its folder moves, or those it builds on do.

A path below the stage's own folder is kept relative to it, a path below an earlier stage's relative
to that one, and an artifact of an earlier stage is kept as the name of the stage. So what was made
in one run is valid in the next, in which the stages before may have made theirs elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline import artifacts

__all__ = ["Places", "builds_on", "decode", "encode", "without_places"]

_OWN = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where a run keeps what its stages made."""

    own: Path
    """Folder of the stage in question."""
    folders: Mapping[str, Path]
    """Of the stages before it, by name."""
    made: Mapping[str, object]
    """Their artifacts."""


def encode(made: object, places: Places) -> dict[str, Any] | None:
    """Return an artifact as JSON; None if it is no class of `pipeline.artifacts`."""
    if getattr(artifacts, type(made).__name__, None) is not type(made):
        return None
    told: dict[str, Any] = {"class": type(made).__name__, "fields": _fields(made, places)}
    return told


def decode(told: Mapping[str, Any], places: Places) -> Any:
    """Return the artifact that `encode` was given, as it is where things are now.

    Raises:
        ValueError: It is nothing that `encode` returned.
        KeyError: It builds on a stage that has not run.
    """
    name = told["class"]
    if name not in artifacts.__all__:
        raise ValueError(f"no artifact {name!r}")
    values = {key: _back(value, places) for key, value in told["fields"].items()}
    return TypeAdapter(getattr(artifacts, name)).validate_python(values)


def without_places(told: Any) -> Any:
    """Return what `encode` returned without the folders of files that lie outside the run.

    What the artifact means does not depend on them: a file there is known by its sha256.
    """
    if isinstance(told, Mapping):
        if told.keys() == {"outside"}:
            return {"outside": Path(told["outside"]).name}
        return {key: without_places(value) for key, value in told.items()}
    return [without_places(each) for each in told] if isinstance(told, list) else told


def builds_on(told: Any) -> set[str]:
    """Return the stages whose artifacts, or files, are a part of what `encode` returned."""
    if isinstance(told, Mapping):
        if "made_by" in told:
            return {told["made_by"]}
        if "in" in told:
            return {told["in"]} - {_OWN}
        told = list(told.values())
    return {name for each in told for name in builds_on(each)} if isinstance(told, list) else set()


def _fields(value: Any, places: Places) -> dict[str, Any]:
    return {field.name: _forth(getattr(value, field.name), places) for field in fields(value)}


def _forth(value: Any, places: Places) -> Any:
    if isinstance(value, Path):
        return _place(value, places)
    for name, made in places.made.items():
        if type(value) is type(made) and value == made:
            return {"made_by": name}
    if is_dataclass(value) and not isinstance(value, type):
        return {"holds": _fields(value, places)}
    if isinstance(value, Mapping):
        return {"maps": {str(key): _forth(each, places) for key, each in value.items()}}
    if isinstance(value, list | tuple):
        return [_forth(each, places) for each in value]
    return value


def _place(path: Path, places: Places) -> dict[str, str]:
    for name, folder in {_OWN: places.own, **places.folders}.items():
        if path.is_relative_to(folder):
            return {"in": name, "path": path.relative_to(folder).as_posix()}
    return {"outside": str(path)}


def _back(told: Any, places: Places) -> Any:
    if isinstance(told, list):
        return [_back(each, places) for each in told]
    if not isinstance(told, Mapping):
        return told
    if "outside" in told:
        return Path(told["outside"])
    if "in" in told:
        name = told["in"]
        return (places.own if name == _OWN else places.folders[name]) / told["path"]
    if "made_by" in told:
        return places.made[told["made_by"]]
    inner = told["holds"] if "holds" in told else told["maps"]
    return {key: _back(value, places) for key, value in inner.items()}
