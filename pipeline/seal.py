"""Folders that are whole or absent: every file hashed, and then one rename.

A folder is made under another name, sealed, and renamed. `seal.json` in it, written last, has the
sha256 and the size of every other file, and of itself. Whoever uses the folder asks `flaw` first.

The order is that of a crash-safe write: the files, then the folders that name them, then the
rename, then the folder that names the result, each flushed to the disk before the next.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = [
    "DRAFT",
    "SEAL",
    "Digests",
    "contents",
    "digests",
    "flaw",
    "publish",
    "seal",
    "sha256",
    "told",
]

SEAL = "seal.json"
DRAFT = f".{SEAL}.draft"
"""Name of the seal while it is written."""

Digests = Mapping[str, Mapping[str, Any]]
"""Sha256 and size of each file below a folder, by its name there."""

_FORMAT = 1
_THREADS = min(8, os.cpu_count() or 1)


def sha256(file: Path) -> str:
    """Return the digest of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return sha256 and size of every file below `folder`, by its name there; not of a seal."""
    files = _files(folder)
    with ThreadPoolExecutor(_THREADS) as threads:  # hashing lets other threads run
        hashed = threads.map(sha256, files.values())
        return {
            name: {"sha256": digest, "size": file.stat().st_size}
            for (name, file), digest in zip(files.items(), hashed, strict=True)
        }


def contents(files: Digests) -> str:
    """Return one digest of what `digests` returned: equal for equal names and bytes."""
    return _digest({name: file["sha256"] for name, file in files.items()})


def seal(folder: Path, about: Mapping[str, Any], files: Digests | None = None) -> None:
    """Write `seal.json`, last, and flush everything to the disk.

    Files become readable as the umask says: safetensors writes them for the owner alone.

    Args:
        folder: Nobody else writes to it.
        about: What `told` shall return; JSON can hold it.
        files: `digests(folder)`, if they were taken already.
    """
    mask = _umask()
    draft = folder / DRAFT
    draft.unlink(missing_ok=True)  # a process was killed right here, and this one goes on
    files = digests(folder) if files is None else files
    for name in files:
        (folder / name).chmod(0o666 & ~mask)
        _flush(folder / name)
    whole: dict[str, Any] = {"format": _FORMAT, "files": files, "about": dict(about)}
    whole["self"] = _digest(whole)
    draft.write_bytes(_rendered(whole))
    _flush(draft)
    draft.replace(folder / SEAL)
    for inner in (each for each in folder.rglob("*") if each.is_dir()):
        _flush(inner)
    _flush(folder)


def publish(draft: Path, final: Path) -> None:
    """Rename a sealed folder to its name, which is free, so that a crash cannot lose it."""
    draft.rename(final)
    _flush(final.parent)


def flaw(folder: Path) -> str | None:
    """Return in a few words why a folder is not what was sealed; None if it is."""
    try:
        whole = _read(folder)
    except FileNotFoundError:
        return "it was never finished"
    except (OSError, ValueError) as error:
        return f"{SEAL}: {error}"
    try:
        there = digests(folder)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    sealed = whole["files"]
    for name in sorted({*sealed, *there}):
        if name not in there:
            return f"{name} is missing"
        if name not in sealed:
            return f"{name} does not belong there"
        if there[name]["size"] != sealed[name]["size"]:
            return f"{name} has {there[name]['size']} bytes, not {sealed[name]['size']}"
        if there[name]["sha256"] != sealed[name]["sha256"]:
            return f"{name} is damaged: its sha256 differs"
    return None


def told(folder: Path) -> dict[str, Any]:
    """Return what the seal says about the folder; of its files nothing is checked.

    Raises:
        OSError: There is no seal.
        ValueError: It is damaged.
    """
    about: dict[str, Any] = _read(folder)["about"]
    return about


def _read(folder: Path) -> dict[str, Any]:
    content = (folder / SEAL).read_bytes()
    whole = json.loads(content)
    if not isinstance(whole, dict) or whole.get("format") != _FORMAT:
        raise ValueError("it has another format")
    if content != _rendered(whole):  # a space more, say: the digest below would not see it
        raise ValueError("it was altered")
    own = whole.pop("self", None)
    if own != _digest(whole):
        raise ValueError("it was altered")
    return whole


def _rendered(whole: Mapping[str, Any]) -> bytes:
    return (json.dumps(whole, indent=1) + "\n").encode()


def _files(folder: Path) -> dict[str, Path]:
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_symlink() or not file.is_dir():
            name = file.relative_to(folder).as_posix()
            if name != SEAL:
                found[name] = file
    return found


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows has no such thing
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
