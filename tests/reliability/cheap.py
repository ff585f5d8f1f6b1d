"""A pipeline of four cheap stages, which is killed, damaged and run many times at once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifacts import AdaptedModel, BaseModel, Examples, TrainedModel
from pipeline.record import Record
from pipeline.seal import flaw, told
from pipeline.store import Store

__all__ = ["BUILT", "STAGES", "built", "digests", "flaws", "leftovers", "pipeline", "run_stages"]

STAGES = ("model", "data", "adapter", "finetune")
BUILT = "GRAFT_TEST_BUILT"
"""Environment variable: a file that each stage adds a line to when it runs."""
_STEPS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeModel:
    pause: float
    """Seconds after each file, here and below."""

    def run(self, given: None, folder: Path) -> BaseModel:
        _write(folder, ("config.json", "words/vocab.txt"), b"model", self.pause)
        return BaseModel(
            folder=folder,
            weights=(),
            name="cheap",
            repo_id=None,
            revision=None,
            source="cheap",
            task="sequence_classification",
            auto_class="AutoModelForSequenceClassification",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeData:
    pause: float
    rows: int = 3

    def run(self, given: BaseModel, folder: Path) -> Examples:
        seed = (given.folder / "words/vocab.txt").read_bytes() + bytes([self.rows])
        _write(folder, ("train/rows.arrow", "test/rows.arrow"), seed, self.pause)
        return Examples(
            folder=folder,
            task="sequence_classification",
            sources=(),
            revision=None,
            labels=("a", "b"),
            train_rows=self.rows,
            validation_rows=0,
            test_rows=1,
            longest=8,
            mean_length=4.5,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MakeAdapter:
    pause: float

    def run(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        base, examples = given
        seed = (base.folder / "config.json").read_bytes()
        _write(folder, ("adapter.safetensors", "placement.json"), seed, self.pause)
        return AdaptedModel(base=base, labels=examples.labels, folder=folder, trainable=1, total=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """Goes on from the steps that a killed attempt left, as training does."""

    resumes: ClassVar[bool] = True
    pause: float

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        adapted, examples = given
        state = (adapted.folder / "adapter.safetensors").read_bytes()
        state += (examples.folder / "train/rows.arrow").read_bytes()
        for step in range(_STEPS):
            if not (folder / f"step-{step}").exists():
                _write(folder, (f".step-{step}",), state, self.pause)
                (folder / f".step-{step}").replace(folder / f"step-{step}")
            state = (folder / f"step-{step}").read_bytes()
        return TrainedModel(adapted=adapted, folder=folder, steps=_STEPS, best_step=_STEPS)


def _write(folder: Path, names: tuple[str, ...], seed: bytes, pause: float) -> None:
    """Write files that follow from `seed`, each in two halves."""
    if (log := os.environ.get(BUILT)) is not None:
        line = f"{folder.parent.parent.name}/{names[0]}\n".encode()
        number = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(number, line)  # one call: lines of several processes do not mix
        os.close(number)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        content = hashlib.sha256(seed + name.encode()).digest() * 64
        with (folder / name).open("wb", buffering=0) as stream:
            stream.write(content[:1000])
            time.sleep(pause / 2)
            stream.write(content[1000:])
        time.sleep(pause / 2)


def run_stages(store: Path, folder: Path, pause: float = 0.0) -> None:
    """Run the four stages in a run folder."""
    record = Record(folder, {"name": "cheap"}, Store(store))
    base = record.run("model", MakeModel(pause=pause), None)
    examples = record.run("data", MakeData(pause=pause), base)
    adapted = record.run("adapter", MakeAdapter(pause=pause), (base, examples))
    record.run("finetune", Train(pause=pause), (adapted, examples))
    record.finish()


def pipeline(home: Path, run: str = "run", pause: float = 0.0) -> Callable[[], None]:
    """Return what runs the stages in `home/outputs`, where the store is as well."""
    return lambda: run_stages(home / "outputs/.store", home / "outputs/cheap" / run, pause)


def built(log: Path) -> list[str]:
    """Return the stages that ran, one for each time."""
    first = ("config.json", "train/rows.arrow", "adapter.safetensors", ".step-0")
    lines = log.read_text().splitlines() if log.exists() else []
    ran = (line.partition("/") for line in lines)
    return [stage for stage, _, file in ran if file in first]


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of what each stage of a run made, by following its links."""
    return {
        link.name: told(link.resolve().parent)["digest"]
        for link in sorted(folder.glob("[1-6]_*"))
        if link.is_symlink() and link.exists()
    }


def flaws(store: Path) -> list[str]:
    """Return what is wrong with the published entries of a store."""
    entries = (each for stage in STAGES for each in sorted((store / stage).glob("[!.]*")))
    return [f"{each.parent.name}: {why}" for each in entries if (why := flaw(each)) is not None]


def leftovers(home: Path) -> list[str]:
    """Return what a finished run should not have left: drafts, and links half made."""
    store, runs = home / "outputs/.store", home / "outputs/cheap"
    drafts = (each for each in store.glob("*/.*") if not each.name.endswith(".lock"))
    hidden = (each for each in runs.glob("*/.*") if not each.name.startswith(".lock"))
    kept = (each for each in runs.glob("*/*") if each.suffix in (".failed", ".unfinished"))
    return [str(each.relative_to(home)) for each in (*drafts, *hidden, *kept)]
