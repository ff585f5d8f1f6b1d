"""The run folder: a numbered link a stage, and a manifest that is true at every moment.

What a stage makes lies in the store (`pipeline.store`), sealed; `3_adapter` in the run folder is a
link to it, made when the stage is done. What a failed one wrote is kept in the run folder as
`3_adapter.failed`. `manifest.json` is replaced atomically after every step. A process that is
killed without a word leaves "running": `process` in the manifest tells where to look for it.

A stage of which nothing changed (`pipeline.fingerprint`) is not run again, in any later run.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.chain import Chain, Link
from pipeline.describe import facts, git_commit, settings, versions
from pipeline.disk import as_disk_full
from pipeline.errors import ConfigError, PipelineError, StoppedError
from pipeline.fingerprint import changed, outside, replaced
from pipeline.scrub import scrubbed
from pipeline.seal import digests
from pipeline.stage import Resumes
from pipeline.store import MADE

if TYPE_CHECKING:
    from pipeline.fingerprint import Parts
    from pipeline.stage import Plan, Stage
    from pipeline.store import Entry, Store

__all__ = ["FORMAT", "Record", "assert_goes_on", "earlier_parts", "told_plan", "why_run"]

log = logging.getLogger(__name__)
Given = TypeVar("Given")
Made = TypeVar("Made")

FORMAT = 2
"""Version of the layout of `manifest.json`."""

_STAGES = 6


class Record:
    """Runs stages, or finds what they made before, and keeps `folder/manifest.json` up to date."""

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        store: Store,
        *,
        reuse: bool = True,
        latest: Path | None = None,
    ) -> None:
        """Start a run, or go on with it: write the first manifest.

        Args:
            folder: Of the run; nobody else writes to it. May exist.
            about: What the manifest says first.
            store: Keeps what stages make.
            reuse: Whether what an earlier run made is used; else every stage runs.
            latest: Link to point at the folder; whatever else has that name stays.
        """
        self.folder = folder
        self._chain = Chain(store)
        self._reuse = reuse
        self._before = earlier_parts(folder) or (earlier_parts(latest) if latest else {})
        self._manifest: dict[str, Any] = {
            "format": FORMAT,
            **about,
            "status": "running",
            "started": _now(),
            "process": {"pid": os.getpid(), "host": platform.node()},
            "versions": {"python": platform.python_version(), **versions()},
            "git_commit": git_commit(),
            "stages": [],
        }
        folder.mkdir(parents=True, exist_ok=True)
        store.enlist(folder)
        for left in folder.glob(".[1-6]_*"):  # links that a killed process only began
            left.unlink()
        self._write()
        if latest is not None:
            _point(latest, Path(folder.name))

    def run(self, name: str, stage: Stage[Given, Made], given: Given) -> Made:
        """Run one stage, unless it was run before on the same; record how it went."""
        number = len(self._manifest["stages"]) + 1
        final = self.folder / f"{number}_{name}"
        entry: dict[str, Any] = {
            "stage": name,
            "by": _class_of(stage),
            "settings": settings(stage),
            "status": "running",
        }
        self._manifest["stages"].append(entry)
        self._write()
        log.info("%d/%d %s", number, _STAGES, name)
        started = time.monotonic()
        parts = self._chain.parts(name, stage, given)
        entry |= {"fingerprint": parts.fingerprint, "parts": parts.as_json()}
        with self._chain.store.working(name, parts.fingerprint, _say_busy):
            stored = self._chain.stored(name, parts) if self._reuse else None
            entry["reused"] = stored is not None
            if stored is None:
                self._chain.store.forget()  # time passes from here on
                entry["why"] = why_run(name, parts, self._before, reuse=self._reuse)
                if self._before:
                    log.info("    %s", entry["why"])
                self._write()
                link = self._make(name, stage, given, parts, final, entry)
            else:
                log.info("    reused: nothing changed")
                link = self._chain.link(stored, _seen(final, stored))
        assert link.entry is not None
        self._chain.links[name] = link
        entry |= {
            "status": "done",
            "seconds": round(time.monotonic() - started, 3),
            "stored": f"{name}/{link.entry.folder.name}",
            "facts": facts(link.made, self.folder),
        }
        self._write()
        if not entry["reused"]:
            log.info("    done in %.1f s", entry["seconds"])
        made: Made = link.made
        return made

    def _make(
        self,
        name: str,
        stage: Stage[Given, Made],
        given: Given,
        parts: Parts,
        final: Path,
        entry: dict[str, Any],
    ) -> Link:
        """Run the stage in a draft, and publish the draft."""
        store, resumes = self._chain.store, isinstance(stage, Resumes) and stage.resumes
        with (
            store.draft(name, parts.fingerprint, keep=resumes and self._reuse) as draft,
            _kept(draft / MADE, final, entry, resumes=resumes),
        ):
            own = draft / MADE
            made = _run(name, stage, given, own)
            self._chain.assert_unchanged(name, stage, parts, given)
            files = digests(draft)
            about = self._chain.about(name, stage, parts, made, own, files)
            try:
                published = store.publish(draft, about, files)
            except OSError as error:
                raise as_disk_full(error, own, stage=name) or error from error
            seen = _seen(final, published)
            moved = _replace_paths(made, own, seen)
        return Link(made=moved, digest=about["digest"], folder=seen, entry=published)

    def finish(self) -> None:
        """Mark the run as complete."""
        self._close("done")

    def fail(self, error: BaseException) -> None:
        """Mark the run, and the stage that was running, as failed or stopped by this error."""
        stopped = isinstance(error, StoppedError | KeyboardInterrupt | SystemExit)
        status = "stopped" if stopped else "failed"
        for entry in self._manifest["stages"]:
            if entry["status"] == "running":
                entry["status"] = status
        # A user's mistake is a sentence; anything else is named by its type as well.
        said = str(error) if isinstance(error, PipelineError) else f"{error!r}"
        self._manifest["error"] = {"type": type(error).__name__, "message": said}
        self._close(status)

    def _close(self, status: str) -> None:
        self._manifest["status"] = status
        self._manifest["ended"] = _now()
        self._write()

    def _write(self) -> None:
        target = self.folder / "manifest.json"
        draft = target.with_name(".manifest.json.draft")
        draft.write_text(json.dumps(scrubbed(self._manifest), indent=2) + "\n", encoding="utf-8")
        draft.replace(target)  # a reader never sees half a file


def earlier_parts(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return what each stage of an earlier run followed from; nothing if that cannot be told."""
    try:
        stages = json.loads((folder / "manifest.json").read_bytes())["stages"]
        return {each["stage"]: each["parts"] for each in stages if "parts" in each}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def why_run(
    name: str, parts: Parts, before: Mapping[str, Mapping[str, Any]], *, reuse: bool
) -> str:
    """Return in a few words why a stage has to run.

    Args:
        name: Of the stage.
        parts: What its result follows from.
        before: The same of the stages of an earlier run.
        reuse: Whether what exists may be used.
    """
    if not reuse:
        return "reuse=false"
    if name not in before:
        return "not made before"
    changes = parts.changes(name, before[name])
    return "; ".join(changes) if changes else "the last run did not finish it, or it is damaged"


def told_plan(plan: Plan) -> dict[str, Any]:
    """Return the stages of a plan and their settings, as the manifest has them."""
    return {
        field.name: {"by": _class_of(stage), **settings(stage)}
        for field in fields(plan)
        if (stage := getattr(plan, field.name)) is not None
    }


def assert_goes_on(folder: Path, plan: Plan) -> None:
    """Check that the run in `folder`, if any, was started with the same settings and files.

    Raises:
        ConfigError: Names each setting that differs, and what it was, and each file that changed;
            the folder stays as it is.
        PipelineError: A file is missing.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        before = manifest["plan"]
        reads = {name: parts["reads"] for name, parts in earlier_parts(folder).items()}
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"hydra.run.dir: {folder} has a manifest.json of something else; choose another folder"
        ) from error
    differences = changed("", before, told_plan(plan))
    for name, files in reads.items():
        stage = getattr(plan, name)
        if before[name]["by"] == _class_of(stage):  # another class reads other things
            differences += replaced(files, outside(stage))
    if differences:
        raise ConfigError(
            f"hydra.run.dir: {folder} holds a run that was started otherwise: "
            f"{'; '.join(differences)}; undo the change, or choose another folder"
        )


def _class_of(stage: object) -> str:
    return f"{type(stage).__module__}.{type(stage).__qualname__}"


def _run(name: str, stage: Stage[Given, Made], given: Given, folder: Path) -> Made:
    """Run a stage; a disk without room becomes one sentence with numbers."""
    try:
        return stage.run(given, folder)
    except PipelineError:
        raise
    except Exception as error:
        if (full := as_disk_full(error, folder, stage=name)) is None:
            raise
        raise full from error


@contextmanager
def _kept(own: Path, final: Path, entry: dict[str, Any], *, resumes: bool) -> Iterator[None]:
    """Keep what a failed stage wrote where its user finds it, and say so in `entry`."""
    try:
        yield
    except BaseException:
        if own.is_dir() and any(own.iterdir()):
            kept = final.with_name(f"{final.name}.{'unfinished' if resumes else 'failed'}")
            if resumes:  # it stays where the next run goes on from
                _point(kept, _from(kept.parent, own))
            else:
                shutil.rmtree(kept, ignore_errors=True)
                shutil.move(own, kept)
            entry["kept"] = kept.name
        raise
    else:
        final.with_name(f"{final.name}.unfinished").unlink(missing_ok=True)


def _say_busy(holder: str) -> None:
    log.info("    waiting: %s is making the same", holder)


def _replace_paths(value: Any, draft: Path, final: Path) -> Any:
    """Return an artifact with every path under `draft` turned into one under `final`."""
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


def _seen(final: Path, entry: Entry) -> Path:
    """Make the link of a stage in the run folder; where there can be none, its files are `made`."""
    return final if _point(final, _from(final.parent, entry.made)) else entry.made


def _from(folder: Path, target: Path) -> Path:
    """Return `target` as a link in `folder` names it: relative, if both move together."""
    outputs = target.parents[3] if len(target.parents) > 3 else target  # outputs/.store/STAGE/ENTRY
    near = folder.absolute().is_relative_to(outputs)
    return Path(os.path.relpath(target, folder.absolute())) if near else target


def _point(link: Path, target: Path) -> bool:
    """Make `link` a symbolic link to `target`, replacing the one before it; tell whether it is."""
    if link.exists() and not link.is_symlink():
        log.debug("no link %s: a file or folder has that name", link)
        return False
    draft = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    try:
        draft.symlink_to(target, target_is_directory=True)
        draft.replace(link)
    except OSError as error:  # a file system without links: the run is as good without it
        log.debug("no link %s: %s", link, error)
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
