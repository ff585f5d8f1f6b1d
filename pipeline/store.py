"""What stages made, kept by what it follows from: `outputs/.store/adapter/3f2a9c0e11d4b857`.

An entry is sealed: it is whole, and everything about it is in its `seal.json`; the stage's own
files are in `made/`. A run folder holds links to entries. An entry is verified each time before it
is used; a damaged one is set aside. Under the name `.3f2a….draft` a stage is at work, or was, when
its process was killed: one that resumes finds its own files there.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import lock, seal
from pipeline.errors import MachineError

__all__ = ["MADE", "Entry", "Store", "runs_of", "store_folder"]

log = logging.getLogger(__name__)

MADE = "made"
"""Folder of the stage's own files inside an entry."""

_USUAL = ".store"
_RUNS = ".runs"
"""Folder of the store with a file for each run that lies elsewhere: its path."""
_ENTRY = re.compile(r"(?P<fingerprint>[0-9a-f]{16})(\.(?P<number>\d+))?")


def store_folder() -> Path:
    """Return where stages keep what they made: `outputs/.store` here, or `GRAFT_STORE`."""
    return Path(os.environ.get("GRAFT_STORE") or Path("outputs", _USUAL)).absolute()


def runs_of(root: Path) -> list[Path]:
    """Return the folders in and below which lie all runs that use the store at `root`."""
    told = (root / _RUNS).glob("*")
    return [*_homes(root), *(Path(os.fsdecode(file.read_bytes())) for file in told)]


def _homes(root: Path) -> list[Path]:
    """Return where runs are without being enlisted: beside `.store`, where it is the usual one."""
    return [root.parent] if root.name == _USUAL else []


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A sealed folder of the store that was found whole."""

    folder: Path
    about: Mapping[str, Any]
    """What was sealed with it."""

    @property
    def made(self) -> Path:
        """Folder of the stage's own files."""
        return self.folder / MADE


class Store:
    """Keeps what stages made in folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._found: dict[tuple[str, str], Entry | None] = {}

    def enlist(self, run: Path) -> None:
        """Remember a run that does not lie beside the store, so that `clean` asks what it needs.

        Raises:
            MachineError: The store cannot be written.
        """
        path = run.absolute()
        if not any(path.is_relative_to(home) for home in _homes(self.root)):
            self._make(self.root / _RUNS)
            name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
            (self.root / _RUNS / name).write_bytes(os.fsencode(path))

    def find(self, stage: str, fingerprint: str) -> Entry | None:
        """Return the newest whole entry; what is damaged is named, and set aside.

        What was found is remembered until `forget`.
        """
        key = (stage, fingerprint)
        if key not in self._found:
            self._found[key] = self._look(stage, fingerprint)
        return self._found[key]

    def forget(self) -> None:
        """Verify anew from now on: time has passed."""
        self._found.clear()

    def _look(self, stage: str, fingerprint: str) -> Entry | None:
        for folder in self._versions(stage, fingerprint):
            flaw = seal.flaw(folder)
            if flaw is None:
                return Entry(folder=folder, about=seal.told(folder))
            aside = folder.with_name(f".damaged-{folder.name}-{secrets.token_hex(4)}")
            log.warning("%s: what an earlier run made is set aside: %s", stage, flaw)
            with suppress(FileNotFoundError):  # another process was faster
                folder.rename(aside)
        return None

    def _versions(self, stage: str, fingerprint: str) -> list[Path]:
        """Return the entries of a fingerprint, the newest first."""
        found = [
            (number, folder)
            for folder in (self.root / stage).glob(f"{fingerprint}*")
            if (number := _version(folder)) is not None
        ]
        return [folder for _, folder in sorted(found, reverse=True)]

    def working(
        self, stage: str, fingerprint: str, busy: Callable[[str], None]
    ) -> AbstractContextManager[None]:
        """Hold the right to make an entry; wait for a process that is making the same.

        Args:
            stage: Its name.
            fingerprint: Of what it is going to make.
            busy: Told who is at work, before waiting.

        Raises:
            MachineError: The store cannot be written.
        """
        self._make(self.root / stage)
        return lock.locked(self.root / stage / f".{fingerprint}.lock", busy=busy)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineError(
                f"store: cannot write to {self.root}: {error.strerror}; start in a folder that can "
                "be written, or name one with the environment variable GRAFT_STORE"
            ) from error

    def is_working(self, stage: str, fingerprint: str) -> bool:
        """Whether a process is making this entry now."""
        return lock.now_locked(self.root / stage / f".{fingerprint}.lock")

    @contextmanager
    def draft(self, stage: str, fingerprint: str, *, keep: bool) -> Iterator[Path]:
        """Give the folder in which to make an entry; only inside `working`.

        Args:
            stage: Its name.
            fingerprint: Of what it is going to make.
            keep: Whether the stage goes on from what a killed attempt left.
        """
        draft = self.root / stage / f".{fingerprint}.draft"
        if not keep:
            shutil.rmtree(draft, ignore_errors=True)
        (draft / MADE).mkdir(parents=True, exist_ok=True)
        for left in (seal.SEAL, seal.DRAFT):  # of an attempt that was killed while it was sealed
            (draft / left).unlink(missing_ok=True)
        try:
            yield draft
        finally:
            if not keep or not any((draft / MADE).glob("*")):
                shutil.rmtree(draft, ignore_errors=True)

    def publish(
        self, draft: Path, about: Mapping[str, Any], files: seal.Digests | None = None
    ) -> Entry:
        """Seal a draft and give it its name; other versions of the same fingerprint stay.

        Args:
            draft: What `draft` gave.
            about: What to seal with it.
            files: `seal.digests` of it, if they were taken already.
        """
        fingerprint = draft.name.removeprefix(".").removesuffix(".draft")
        versions = self._versions(draft.parent.name, fingerprint)
        number = 1 + max((_version(each) or 0 for each in versions), default=0)
        final = draft.with_name(fingerprint if number == 1 else f"{fingerprint}.{number}")
        seal.seal(draft, about, files)
        seal.publish(draft, final)
        entry = Entry(folder=final, about=dict(about))
        self._found[(final.parent.name, fingerprint)] = entry
        return entry


def _version(folder: Path) -> int | None:
    """Return the number of an entry among those of its fingerprint, from 1; None if it is none."""
    match = _ENTRY.fullmatch(folder.name)
    return None if match is None else int(match["number"] or 1)
