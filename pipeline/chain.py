"""What the stages of a run made so far, and what of it an earlier run has made already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import BaseModel
from pipeline.encoding import Places, builds_on, decode, encode, without_places
from pipeline.errors import StageError
from pipeline.fingerprint import Parts, outside, parts_of
from pipeline.seal import contents, flaw, sha256
from pipeline.stage import KeepsLogs
from pipeline.store import Entry, Store

__all__ = ["Chain", "Link"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """What one stage made, as the stages after it see it."""

    made: Any
    """The artifact."""
    digest: str
    """Of what it says and holds: equal for equal results."""
    folder: Path
    """Where this run sees the stage's files."""
    entry: Entry | None
    """Where they lie; None when they are not in the store."""


class Chain:
    """Grows by a link a stage; knows what a stage's result follows from."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.links: dict[str, Link] = {}

    def parts(self, name: str, stage: object, given: object) -> Parts:
        """Return what decides the result of a stage that is given `given`.

        Raises:
            PipelineError: What it reads from outside is missing.
        """
        return parts_of(name, stage, dict(self._given(given)))

    def stored(self, name: str, parts: Parts) -> Entry | None:
        """Return what an earlier run made from the same parts, if it is whole."""
        entry = self.store.find(name, parts.fingerprint)
        return None if entry is None or entry.about.get("made") is None else entry

    def link(self, entry: Entry, folder: Path) -> Link:
        """Return what the store holds as this run sees it, with its files at `folder`."""
        made = decode(entry.about["made"], self._places(folder))
        return Link(made=made, digest=entry.about["digest"], folder=folder, entry=entry)

    def about(
        self,
        name: str,
        stage: object,
        parts: Parts,
        made: object,
        own: Path,
        files: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Return what is sealed with what a stage made: enough for `stored` in a later run.

        Args:
            name: Of the stage.
            stage: The stage itself.
            parts: What the result follows from.
            made: The artifact, with its paths below `own`.
            own: The folder the stage wrote to.
            files: `seal.digests` of the folder above, which is going to be sealed.
        """
        told = encode(made, self._places(own))
        logs: Collection[str] = stage.logs if isinstance(stage, KeepsLogs) else ()
        results = {
            file: facts
            for file, facts in files.items()
            if file.removeprefix(f"{own.name}/").partition("/")[0] not in logs
        }
        # It is no better known than what it builds on: finetune=none hands its adapter through.
        others = {source: self.links[source].digest for source in builds_on(told)}
        said = json.dumps([without_places(told), others], sort_keys=True, default=str)
        digest = hashlib.sha256(f"{contents(results)}\n{said}".encode()).hexdigest()
        return {"stage": name, "parts": parts.as_json(), "made": told, "digest": digest}

    def assert_unchanged(self, name: str, stage: object, parts: Parts, given: object) -> None:
        """Check, after a stage has run, that what it read is what its fingerprint says.

        Raises:
            StageError: A file was edited meanwhile; the message names it.
        """
        changed = [
            file for file, digest in outside(stage).items() if parts.reads.get(file) != digest
        ]
        for source, _ in self._given(given):
            entry = self.links[source].entry if source in self.links else None
            if entry is not None and (found := flaw(entry.folder)) is not None:
                changed.append(f"{entry.folder} ({found})")
        changed += [
            str(file.path)
            for base in _bases(given)
            for file in base.weights
            if file.sha256 and sha256(file.path) != file.sha256
        ]
        if changed:
            raise StageError(
                f"{name}: {', '.join(dict.fromkeys(changed))} changed while the run was at work, "
                "so nothing of this stage is kept; start the same command again"
            )

    def _places(self, own: Path) -> Places:
        return Places(
            own=own,
            folders={name: link.folder for name, link in self.links.items()},
            made={name: link.made for name, link in self.links.items()},
        )

    def _given(self, given: object) -> Iterator[tuple[str, str]]:
        """Yield the stage and the digest of each artifact that a stage is given."""
        for number, each in enumerate(given if isinstance(given, tuple) else (given,)):
            if each is None:
                continue
            for name, link in self.links.items():
                if link.made is each:
                    yield name, link.digest
                    break
            else:  # not made by a stage of this run
                yield f"given {number}", hashlib.sha256(repr(each).encode()).hexdigest()


def _bases(value: object) -> Iterator[BaseModel]:
    """Yield the base models that an artifact, or several, hold."""
    if isinstance(value, BaseModel):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _bases(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _bases(getattr(value, field.name))
