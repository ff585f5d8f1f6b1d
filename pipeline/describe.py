"""What the manifest says: of the code, of a stage's settings, of what it made."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["facts", "git_commit", "settings", "version_of", "versions"]

_CHECKOUT = Path(__file__).resolve().parent.parent
_LIBRARIES = (
    "graft-pipeline", "torch", "transformers", "peft", "accelerate", "datasets", "onnx",
    "onnxruntime", "onnxscript", "netron", "hydra-core",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the result."""
    return {name: found for name in _LIBRARIES if (found := version_of(name)) is not None}


@cache
def version_of(name: str) -> str | None:
    """Return the version of an installed distribution; None if there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of this project's own checkout, `-dirty` when files differ."""
    git = shutil.which("git")
    if git is None or not (_CHECKOUT / "pyproject.toml").is_file():  # installed from a wheel
        return None
    told = subprocess.run(  # noqa: S603 - a fixed command line
        [
            git,
            "-C",
            str(_CHECKOUT),
            "describe",
            "--always",
            "--abbrev=40",
            "--dirty",
            "--exclude=*",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or None


def settings(stage: object) -> dict[str, Any]:
    """Return the fields of a stage, as JSON can hold them."""
    if not is_dataclass(stage):
        return {}
    told: dict[str, Any] = json.loads(
        json.dumps({f.name: getattr(stage, f.name) for f in fields(stage)}, default=_as_json)
    )
    return told


def _as_json(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "by": f"{type(value).__module__}.{type(value).__qualname__}",
            **{f.name: getattr(value, f.name) for f in fields(value)},
        }
    return str(value)


def facts(made: Any, root: Path) -> dict[str, Any]:
    """Return the small facts of an artifact: numbers, text, and paths relative to the run."""
    found: dict[str, Any] = {}
    for field in fields(made):
        value = getattr(made, field.name)
        if isinstance(value, Path):
            value = str(value.relative_to(root)) if value.is_relative_to(root) else str(value)
        if isinstance(value, tuple) and value and all(isinstance(item, str) for item in value):
            value = list(value)
        if value is None or isinstance(value, int | float | str | list | dict):
            found[field.name] = value
        elif isinstance(value, tuple) and all(is_dataclass(item) for item in value):
            found[field.name] = [facts(item, root) for item in value]
    return found
