"""What the manifest says: of the code, of a stage's settings, of what it made and wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["digests", "facts", "git_commit", "settings", "versions"]

_CHECKOUT = Path(__file__).resolve().parent.parent
_LIBRARIES = (
    "graft-pipeline", "torch", "transformers", "peft", "accelerate", "datasets", "onnx",
    "onnxruntime", "onnxscript", "netron", "hydra-core",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide the result."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return sha256 and size of every file under `folder`, by its name there."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found[str(file.relative_to(folder))] = {"sha256": digest, "size": file.stat().st_size}
    return found
