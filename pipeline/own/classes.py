"""The user's own class: found, imported with consent, and told from its source."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.consent import KEY, allows, granted
from pipeline.errors import StageError, nearest
from pipeline.seal import sha256

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "COUNTS",
    "class_named",
    "digest",
    "labels_argument",
    "source_files",
    "why_refused",
]

COUNTS = ("num_labels", "num_classes")
"""Arguments of a class that are taken for the number of its outputs."""

_SHIPPED = ("pipeline.own.cnn.Cnn",)
"""Our own classes: they need no consent."""


def why_refused(class_path: str) -> str | None:
    """Return in a sentence why a class may not be imported; None if it may."""
    root, _, rest = class_path.partition(".")
    if not rest or not all(part.isidentifier() for part in class_path.split(".")):
        return f"must be the path of a class, such as my_net.Net, got {class_path!r}"
    if class_path in _SHIPPED or allows(granted(), class_path):
        return None
    return (
        f"{class_path!r} is a class of your own; add {KEY}={root} to the command line, which runs "
        "its code"
    )


def class_named(class_path: str, where: str) -> type[nn.Module]:
    """Import a class, which runs its module.

    Args:
        class_path: `my_net.Net`.
        where: How the error begins, such as `model.class_path`.

    Raises:
        StageError: There is no consent, no such class, or it is no `nn.Module`.
    """
    from torch import nn

    if (reason := why_refused(class_path)) is not None:
        raise StageError(f"{where}: {reason}")
    module_name, _, name = class_path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may do anything
        said = str(error).splitlines()[0] if str(error) else ""
        raise StageError(
            f"{where}: cannot import {module_name!r}: {type(error).__name__}: {said}"
        ) from error
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    known = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    ]
    what = "no" if found is None else f"a {type(found).__name__}, not an nn.Module, as"
    raise StageError(
        f"{where}: {module_name!r} has {what} {name!r}{nearest(name, known) or '.'} Classes of "
        f"modules there: {', '.join(known) or 'none'}"
    )


def labels_argument(cls: type, arguments: Mapping[str, Any]) -> str | None:
    """Return which argument of a class is to be the number of labels; None if there is none."""
    takes = inspect.signature(cls).parameters
    return next((name for name in COUNTS if name in takes and name not in arguments), None)


def source_files(class_path: str) -> tuple[Path, ...]:
    """Return the source that a class may run: its module, or all of the package; imports nothing.

    Raises:
        StageError: There is no such module.
    """
    root = class_path.partition(".")[0]
    if class_path in _SHIPPED:
        return (Path(__file__).with_name("cnn.py"),)
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise StageError(
            f"model.class_path: there is no module {root!r} in this folder ({Path.cwd()}) or among "
            "what is installed"
        )
    if folders := list(spec.submodule_search_locations or ()):
        return tuple(sorted(file for each in folders for file in Path(each).rglob("*.py")))
    return (Path(spec.origin),) if spec.origin and Path(spec.origin).is_file() else ()


def digest(class_path: str) -> str:
    """Return what identifies the source of a class."""
    told = "".join(f"{file.name}\0{sha256(file)}\n" for file in source_files(class_path))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
