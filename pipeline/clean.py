"""`python -m pipeline clean`: remove from the store what no run folder needs any more.

A run needs what its links lead to, and what its manifest says it was making: an unfinished training
goes on from there. So a run is removed by removing its folder; this frees the space it alone took.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import MachineError
from pipeline.lock import now_locked, remove
from pipeline.store import runs_of

__all__ = ["clean"]

_DRAFT = re.compile(r"\.(?P<fingerprint>[0-9a-f]{16})\.draft")


def clean(root: Path, *, dry_run: bool) -> Iterator[str]:
    """Yield a line for each thing that is removed, and the sum; `dry_run` removes nothing.

    Args:
        root: The store. Runs are looked for in the folder it lies in, and in those that the store
            was told of.
        dry_run: Only say what would go.

    Raises:
        MachineError: Something cannot be removed.
    """
    needed = {each for home in runs_of(root) for each in _needed(home, root)}
    freed = 0
    for stage in sorted(each for each in root.glob("*") if each.is_dir()):
        for folder in sorted(each for each in stage.iterdir() if each.is_dir()):
            if (why := _why(folder, stage.name, needed)) is None:
                continue
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            freed += size
            yield f"{stage.name}/{folder.name}  {size / 1e6:.1f} MB  {why}"
            if not dry_run:
                _remove(folder)
        if not dry_run:
            for file in stage.glob(".*.lock"):
                remove(file)
    yield f"{freed / 1e6:.1f} MB {'would be' if dry_run else 'are'} freed"


def _needed(outputs: Path, root: Path) -> set[tuple[str, str]]:
    """Return stage and name of all that a run below `outputs` links to or was making."""
    needed = set()
    for manifest in outputs.rglob("manifest.json"):
        try:
            stages = json.loads(manifest.read_bytes())["stages"]
            for each in stages:
                needed.add((each["stage"], each.get("fingerprint", "")))
                needed.add((each["stage"], each.get("stored", "/").partition("/")[2]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not of a run
    real = Path(os.path.realpath(root))
    for link in (each for each in outputs.rglob("*") if each.is_symlink()):
        target = Path(os.path.realpath(link))  # where it leads nowhere, too
        if target.is_relative_to(real) and len(parts := target.relative_to(real).parts) > 1:
            needed.add((parts[0], parts[1]))
    return needed


def _why(folder: Path, stage: str, needed: set[tuple[str, str]]) -> str | None:
    if folder.name.startswith(".damaged-"):
        return "damaged"
    if match := _DRAFT.fullmatch(folder.name):
        fingerprint = match["fingerprint"]
        if now_locked(folder.with_name(f".{fingerprint}.lock")):
            return None
        return None if (stage, fingerprint) in needed else "unfinished, and its run is gone"
    return None if (stage, folder.name) in needed else "no run needs it"


def _remove(folder: Path) -> None:
    try:
        # By another name first: what is half removed must not look like an entry.
        gone = folder.rename(folder.with_name(f".damaged-{folder.name.lstrip('.')}"))
        shutil.rmtree(gone)
    except OSError as error:
        raise MachineError(f"clean: cannot remove {folder}: {error.strerror}") from error
