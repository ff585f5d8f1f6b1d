"""What a stage's result follows from: equal parts, equal result; so a stage need not run twice.

Contents count, never times and never names alone: the class and its settings, the code, the results
of the stages before, the files read from outside, the versions of the libraries, the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.describe import settings, version_of
from pipeline.seal import sha256
from pipeline.stage import ReadsOutside

__all__ = ["Parts", "changed", "outside", "parts_of", "replaced"]

_PACKAGE = Path(__file__).resolve().parent
_SHARED = ("adapted.py", "artifacts.py", "fit.py", "own", "partial", "placement.py",
           "pretrained.py", "prompts.py", "rows.py", "seal.py", "tasks",
           "without_values.py")  # fmt: skip
"""Code that stages of every kind call, by its name in this package."""
_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
_MORE = {
    "model": (),
    "data": ("datasets", "pyarrow", "scikit-learn"),
    "adapter": ("peft",),
    "finetune": ("peft", "accelerate", "datasets"),
    "export": ("peft", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "sympy", "datasets"),
    "visualize": ("onnx", "netron"),
}
"""Libraries that decide what a stage makes, beyond `_LIBRARIES`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """All that decides what a stage makes; JSON can hold it."""

    by: str
    """Path of the class."""
    settings: Mapping[str, Any]
    code: str
    """Digest of the source it may run."""
    given: Mapping[str, str]
    """Digest of what each stage before it made."""
    reads: Mapping[str, str]
    """What it reads from outside: sha256 by file, commit by repository."""
    versions: Mapping[str, str]
    machine: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for all of it (64 bits)."""
        told = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the parts as JSON holds them."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def changes(self, stage: str, before: Mapping[str, Any]) -> list[str]:
        """Say in a few words each what is different from the parts of an earlier run.

        Args:
            stage: Its name, for the settings.
            before: What `as_json` returned then.
        """
        now = self.as_json()
        if now["by"] != before.get("by"):
            return [f"{before.get('by')} before, {now['by']} now"]
        said = changed(stage, before.get("settings", {}), now["settings"])
        said += replaced(before.get("reads", {}), now["reads"])
        said += [
            f"{name} made something else"
            for name, digest in now["given"].items()
            if before.get("given", {}).get(name) != digest
        ]
        said += changed("", before.get("versions", {}), now["versions"])
        if now["code"] != before.get("code"):
            said.append(f"the code of {stage} changed")
        return said + changed("machine", before.get("machine", {}), now["machine"])


def parts_of(name: str, stage: object, given: Mapping[str, str]) -> Parts:
    """Return what decides the result of a stage.

    Args:
        name: Of the stage, such as `adapter`.
        stage: The stage itself.
        given: Digest of what each earlier stage made that this one is given.

    Raises:
        PipelineError: It cannot read what it needs from outside; the message says what.
    """
    cls = type(stage)
    return Parts(
        by=f"{cls.__module__}.{cls.__qualname__}",
        settings=settings(stage),
        code=_code(_modules(stage)),
        given=given,
        reads=outside(stage),
        versions=_versions(name),
        machine=_machine(),
    )


def outside(stage: object) -> dict[str, str]:
    """Return what a stage reads from outside now, each with what identifies its content."""
    inner = getattr(stage, "stage", stage)  # of one that several processes run
    return dict(inner.reads()) if isinstance(inner, ReadsOutside) else {}


def _modules(stage: object) -> frozenset[str]:
    """Return the modules that the classes of a stage, and of stages inside it, come from."""
    inner = (getattr(stage, f.name) for f in fields(stage)) if is_dataclass(stage) else ()
    found = {each.__module__ for each in type(stage).mro()}
    return frozenset(found).union(
        *(_modules(each) for each in inner if is_dataclass(each) and not isinstance(each, type))
    )


@cache
def _code(modules: frozenset[str]) -> str:
    """Digest the packages that the modules lie in, and what of ours all stages share.

    Of this package that is the folder of a stage; of a user's, the whole package or module.
    """
    roots = {_PACKAGE / name for name in _SHARED}
    for name in modules:
        top, _, rest = name.partition(".")
        if top == _PACKAGE.name:
            roots.add(_PACKAGE / rest.partition(".")[0])
        elif top in sys.stdlib_module_names:
            continue
        elif folders := getattr(sys.modules.get(top), "__path__", ()):
            roots.update(Path(folder) for folder in folders)  # also without an __init__.py
        elif (file := getattr(sys.modules.get(top), "__file__", None)) is not None:
            roots.add(Path(file))
    digest = hashlib.sha256()
    for root in sorted(roots):
        for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root.parent)}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def _versions(name: str) -> dict[str, str]:
    every = {each for more in _MORE.values() for each in more}
    found = {"python": platform.python_version()}
    for library in sorted({*_LIBRARIES, *_MORE.get(name, every)}):
        if (number := version_of(library)) is not None:
            found[library] = number
    return found


@cache
def _machine() -> dict[str, str]:
    """Return what of this machine decides how numbers round; asks no library."""
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [re.search(r"Model:\s*(.+)", file.read_text(errors="replace")) for file in gpus]
    asked = {
        name: os.environ[name]
        for name in ("CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU")
        if name in os.environ
    }
    return {
        "system": platform.system(),
        "processor": _processor(),
        "gpus": ", ".join(each.group(1) for each in models if each is not None) or "none",
        **asked,
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    if told.is_file():
        found = re.search(
            r"^model name\s*:\s*(.+)$", told.read_text(errors="replace"), re.MULTILINE
        )
        if found is not None:
            return found.group(1)
    return platform.processor() or platform.machine()


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def changed(where: str, before: Any, now: Any) -> list[str]:
    """Return a line for each leaf in which two trees of settings differ: `r 8 -> 4`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        prefix = f"{where}." if where else ""
        return [
            line
            for key in {**now, **before}
            for line in changed(f"{prefix}{key}", before.get(key), now.get(key))
        ]
    return [] if before == now else [f"{where} {_short(before)} -> {_short(now)}"]


def _short(value: object) -> str:
    return "none" if value is None else str(value)


def replaced(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return a few words for each file in which two answers of `outside` differ."""
    near = {name: _near(name) for name in {**now, **before}}
    return [
        *(f"{near[name]} changed" for name in now if name in before and now[name] != before[name]),
        *(f"{near[name]} is read now" for name in now if name not in before),
        *(f"{near[name]} is not read any more" for name in before if name not in now),
    ]


def _near(name: str) -> str:
    """Return a path as one would type it here."""
    path = Path(name)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else name
