"""The run folder: one numbered sub-folder a stage, and a manifest that is true at every moment.

A stage works in a hidden draft folder. Only when it has returned is the draft renamed to
`3_adapter`, so a folder with that name is a finished stage, always; what a failed one wrote is kept
as `3_adapter.failed`. `manifest.json` is replaced atomically after every step. A process that is
killed without a word leaves "running": `process` in the manifest tells where to look for it.

A stage is always run at present. Reuse has its place in `Record.run`, before the draft is made:
the entry in the manifest already says what was run and from which settings.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.describe import digests, facts, git_commit, settings, versions
from pipeline.errors import FolderTakenError, MachineError, PipelineError

if TYPE_CHECKING:
    from pipeline.stage import Stage

__all__ = ["FORMAT", "Record", "claim"]

log = logging.getLogger(__name__)
Given = TypeVar("Given")
Made = TypeVar("Made")

FORMAT = 1
"""Version of the layout of `manifest.json`."""

_STAGES = 6
_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d$")
"""How configs/config.yaml names the folder of a run."""


def claim(folder: Path, *, sweeping: bool) -> Path:
    """Make the folder of a run, or of a sweep, before Hydra writes its first file there.

    A user's folder with other files in it will do for a run: what is made, and must not exist, is
    Hydra's `.hydra` inside.

    Returns:
        The folder; of two starts in the same second, one gets `..._2`.

    Raises:
        FolderTakenError: The user chose a folder that another run has.
        MachineError: It cannot be written.
    """
    key = "hydra.sweep.dir" if sweeping else "hydra.run.dir"
    named_by_time = _TIME.search(folder.name) is not None
    mine, number = folder, 1
    while True:
        try:
            (mine if sweeping else mine / ".hydra").mkdir(parents=True)
        except FileExistsError as error:
            if not named_by_time:
                raise FolderTakenError(f"{key}: {_taken(folder)}") from error
            number += 1
            mine = folder.with_name(f"{folder.name}_{number}")
        except OSError as error:
            raise MachineError(f"{key}: cannot write to {folder}: {error.strerror}") from error
        else:
            return mine


def _taken(folder: Path) -> str:
    return f"{folder} already holds a run, which stays as it is; start again, or choose another"


class Record:
    """Runs stages inside `folder` and keeps `folder/manifest.json` up to date."""

    def __init__(self, folder: Path, about: Mapping[str, Any], latest: Path | None = None) -> None:
        """Start a run: write the first manifest.

        Args:
            folder: Of the run. May exist, without a manifest.
            about: What the manifest says first.
            latest: Link to point at the folder; whatever else has that name stays.

        Raises:
            FolderTakenError: The folder has the manifest of another run.
        """
        self.folder = folder
        self._manifest: dict[str, Any] = {
            "format": FORMAT,
            **about,
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "process": {"pid": os.getpid(), "host": platform.node()},
            "versions": {"python": platform.python_version(), **versions()},
            "git_commit": git_commit(),
            "stages": [],
        }
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder / "manifest.json").touch(exist_ok=False)
        except FileExistsError as error:
            raise FolderTakenError(_taken(folder)) from error
        self._write()
        if latest is not None:
            _point(latest, folder)

    def run(self, name: str, stage: Stage[Given, Made], given: Given) -> Made:
        """Run one stage in a folder of its own, publish the folder and record how it went."""
        number = len(self._manifest["stages"]) + 1
        final = self.folder / f"{number}_{name}"
        entry: dict[str, Any] = {
            "stage": name,
            "by": f"{type(stage).__module__}.{type(stage).__qualname__}",
            "settings": settings(stage),
            "status": "running",
        }
        self._manifest["stages"].append(entry)
        self._write()
        log.info("%d/%d %s", number, _STAGES, name)
        started = time.monotonic()
        with _draft(final, entry) as draft:
            made = stage.run(given, draft)
            entry["files"] = digests(draft)
        made = _moved(made, draft, final)
        entry |= {
            "status": "done",
            "seconds": round(time.monotonic() - started, 3),
            "facts": facts(made, self.folder),
        }
        self._write()
        log.info("    done in %.1f s", entry["seconds"])
        return made

    def finish(self) -> None:
        """Mark the run as complete."""
        self._close("done")

    def fail(self, error: BaseException) -> None:
        """Mark the run, and the stage that was running, as failed with this error."""
        for entry in self._manifest["stages"]:
            if entry["status"] == "running":
                entry["status"] = "failed"
        # A user's mistake is a sentence; anything else is named by its type as well.
        said = str(error) if isinstance(error, PipelineError) else f"{error!r}"
        self._manifest["error"] = {"type": type(error).__name__, "message": said}
        self._close("failed")

    def _close(self, status: str) -> None:
        self._manifest["status"] = status
        self._manifest["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._write()

    def _write(self) -> None:
        target = self.folder / "manifest.json"
        draft = target.with_name(".manifest.json.draft")
        draft.write_text(json.dumps(self._manifest, indent=2) + "\n", encoding="utf-8")
        draft.replace(target)  # a reader never sees half a file


@contextmanager
def _draft(final: Path, entry: dict[str, Any]) -> Iterator[Path]:
    """Give an empty folder beside `final`, and rename it to `final` at the end.

    After a failure, what there is in it is kept as `3_adapter.failed`, and `entry` says so.
    """
    draft = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
    draft.mkdir()
    try:
        yield draft
        for file in draft.rglob("*"):
            if file.is_file() and not file.is_symlink():
                file.chmod(0o666 & ~_umask())  # safetensors writes 0600: colleagues could not read
        draft.rename(final)
    except BaseException:
        if draft.exists():  # a signal may come just after the rename
            if any(draft.iterdir()):
                kept = final.with_name(f"{final.name}.failed")
                shutil.rmtree(kept, ignore_errors=True)
                entry["kept"] = draft.rename(kept).name
            else:
                draft.rmdir()
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _moved(made: Made, draft: Path, final: Path) -> Made:
    """Return the artifact with every path under `draft` turned into one under `final`."""
    moved: Made = _replace_paths(made, draft, final)
    return moved


def _replace_paths(value: Any, draft: Path, final: Path) -> Any:
    if isinstance(value, Path):
        return final / value.relative_to(draft) if value.is_relative_to(draft) else value
    if isinstance(value, tuple):
        return tuple(_replace_paths(item, draft, final) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            f.name: _replace_paths(getattr(value, f.name), draft, final) for f in fields(value)
        }
        return replace(value, **changes)
    return value


def _point(link: Path, folder: Path) -> None:
    """Make `link` a relative symbolic link to `folder`, replacing the one before it."""
    if link.exists() and not link.is_symlink():
        log.debug("no link %s: a file or folder has that name", link)
        return
    draft = link.with_name(f".latest.{secrets.token_hex(4)}")
    try:
        draft.symlink_to(folder.name, target_is_directory=True)
        draft.replace(link)
    except OSError as error:  # a file system without links: the run is as good without it
        log.debug("no link %s: %s", link, error)
