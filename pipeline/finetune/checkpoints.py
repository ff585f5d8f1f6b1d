"""The checkpoints of a training on disk: whole or absent, the newest that can be trusted first.

Each is a sealed folder (`pipeline.seal`) of JSON and safetensors; nothing in it is ever unpickled.
`checkpoint-20` is where step 20 ended, with the evaluation that was due there done; in
`checkpoint-20-unevaluated` it is still to come. Kept are the last two and the best of each.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import seal
from pipeline.disk import as_disk_full, in_bytes
from pipeline.errors import DiskFullError

__all__ = ["Checkpoints", "LogFile", "Progress"]

log = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint-(?P<step>\d+)(?P<unevaluated>-unevaluated)?")
_STATE = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFile:
    """How much of a file that only grows was written, as of a checkpoint."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a training stood, in what JSON can hold."""

    step: int
    """Steps done."""
    steps: int
    """Steps of the whole training."""
    evaluated: bool
    """Whether the evaluation after this step is done, if one was due."""
    ended: bool
    """Whether nothing is left to train."""
    best_step: int
    """Step of the best evaluation so far; 0 before the first."""
    per_device: int
    """Most rows at once on one device, as it was in force."""
    work: Mapping[str, Any]
    """What the training was: a checkpoint of another one is refused."""
    numbers: Mapping[str, Any]
    """Of optimizer, schedule and loss scale, what is not a tensor."""
    kept: Mapping[str, Mapping[str, Any]]
    """What each callback remembers, by its class."""
    log: LogFile
    """Of `metrics.jsonl`."""

    @property
    def name(self) -> str:
        """Name of its checkpoint."""
        return f"checkpoint-{self.step}{'' if self.evaluated else '-unevaluated'}"


class Checkpoints:
    """The checkpoints in `folder`; one process writes, the others may read."""

    def __init__(self, folder: Path, metrics: Path) -> None:
        """Keep them in `folder`; `metrics` is the log that goes with them."""
        self.folder, self._metrics = folder, metrics

    def adapter(self, step: int) -> Path:
        """Return the adapter of the evaluation after a step, in PEFT's format."""
        return self.folder / f"checkpoint-{step}" / "adapter"

    def read(self, name: str) -> Progress:
        """Return what a checkpoint says."""
        told = json.loads((self.folder / name / _STATE).read_bytes())
        return Progress(**told | {"log": LogFile(**told["log"])})

    @contextmanager
    def saving(self, progress: Progress, size: int) -> Iterator[Path]:
        """Give a folder for the tensors; at the end it is the checkpoint, and old ones go.

        Args:
            progress: Written beside them.
            size: About how many bytes the tensors take.

        Raises:
            DiskFullError: Says how much was needed, how much there is, and what is left whole.
        """
        draft = self.folder / f".{progress.name}"
        try:
            draft.mkdir(parents=True)
            yield draft
            told = json.dumps(asdict(progress), indent=1, allow_nan=False)
            (draft / _STATE).write_text(told + "\n", encoding="utf-8")
            seal.seal(draft, {"step": progress.step, "best_step": progress.best_step})
            seal.publish(draft, self.folder / progress.name)
        except Exception as error:
            shutil.rmtree(draft, ignore_errors=True)
            if as_disk_full(error, self.folder) is None:
                raise
            raise DiskFullError(self._no_room(progress.name, size)) from error
        self._prune()

    def _no_room(self, name: str, size: int) -> str:
        free = shutil.disk_usage(self.folder).free
        last = next((each.name for each in self._newest_first()), None)
        return (
            f"finetune: no room for {name} in {self.folder} (needs about {in_bytes(size)}, "
            f"{in_bytes(free)} free); make room, and the same command "
            + (f"goes on from {last}" if last else "starts again")
        )

    def latest(self) -> str | None:
        """Return the name of the newest checkpoint that can be gone on from; None without one.

        Those that are damaged, or whose best adapter is, are named in a warning and set aside, and
        what a killed process left half done is removed.
        """
        for leftover in self.folder.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        flaws: dict[str, str] = {}
        chosen = None
        for each in self._newest_first():
            flaw = self._flaw(each)
            if flaw is None:
                chosen = each.name
                break
            flaws[each.name] = flaw
        for name, flaw in flaws.items():
            log.warning("%s: %s; %s", name, flaw, f"using {chosen}" if chosen else "starting again")
            aside = self.folder / f"{name}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / name).rename(aside)
        return chosen

    def _flaw(self, checkpoint: Path) -> str | None:
        """Return why a checkpoint cannot be gone on from, in a few words."""
        if (flaw := seal.flaw(checkpoint)) is not None:
            return flaw
        told = self.read(checkpoint.name)
        best = self.adapter(told.best_step).parent
        if told.best_step not in (0, told.step) and (flaw := seal.flaw(best)) is not None:
            return f"the best one so far, {best.name}, is of no use: {flaw}"
        if _start_of(self._metrics, told.log.size) != told.log:
            return f"{self._metrics.name} is not what it was: lines are missing or altered"
        return None

    def _newest_first(self) -> list[Path]:
        found = [
            (int(match["step"]), match["unevaluated"] is None, each)
            for each in self.folder.glob("checkpoint-*")
            if (match := _NAME.fullmatch(each.name))
        ]
        return [each for *_, each in sorted(found, reverse=True)]

    def _prune(self) -> None:
        """Remove all but the last two and the best of each: should the last one be damaged."""
        every = self._newest_first()
        keep = set(every[:2])
        for each in every[:2]:
            with suppress(OSError, ValueError):  # damaged meanwhile: it has no best to keep
                keep.add(self.adapter(seal.told(each)["best_step"]).parent)
        for each in every:
            if each not in keep:
                _remove(each)

    def clear(self) -> None:
        """Remove all: the training is over, or begins anew."""
        if self.folder.exists():
            _remove(self.folder)

    def log_file(self) -> LogFile:
        """Flush the metrics to the disk, and say how much of them there is."""
        if not self._metrics.exists():
            return _start_of(self._metrics, 0)
        with self._metrics.open("rb") as stream:
            os.fsync(stream.fileno())
        return _start_of(self._metrics, self._metrics.stat().st_size)

    def rewind(self, progress: Progress) -> None:
        """Cut off what the metrics say of later steps."""
        if self._metrics.exists():
            os.truncate(self._metrics, progress.log.size)


def _start_of(file: Path, size: int) -> LogFile:
    start = file.read_bytes()[:size] if file.exists() else b""
    return LogFile(size=len(start), sha256=hashlib.sha256(start).hexdigest())


def _remove(folder: Path) -> None:
    """Remove a folder; under its own name it is whole until then."""
    gone = folder.with_name(f".gone-{folder.name}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
