"""T5: two processes that launch=multi_gpu starts, and one of them fails: one cause, and no loss."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from test_finetune import Given, trainer

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.errors import CheckError
from pipeline.finetune import Trainer
from pipeline.launch import MultiGpu
from reliability.figures import Figure
from reliability.trainings import (
    SETTINGS,
    finish,
    flaws,
    kill,
    make_given,
    outcome,
    preload,
    start,
    steps_done,
    wait_until,
)

__all__ = ["FAULTS", "Fault", "Faulty", "measure", "suffer"]

_ASKED = "GRAFT_TEST_FAULT"
_STEP = 5
_TIMEOUT = 10.0
_MORE = 10.0
"""Seconds beyond the timeout in which everybody must be gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What goes wrong, and what the user is told."""

    what: str
    """What rank 1 does after step 5; or the signal that the whole gets meanwhile."""
    code: int
    said: str
    """A regular expression."""


_THEN = r"; the same command goes on from checkpoint-\d(-unevaluated)?"
_SAVED = r" after step \d of 9; it is saved, and the same command goes on from there"
FAULTS = (
    Fault(what="nothing", code=0, said=""),
    Fault(what="raise", code=4, said="finetune: the fault of a test"),
    Fault(
        what="die",
        code=3,
        said=r"finetune: rank 1 was killed by signal 9 \(SIGKILL\) after step \d, by hand or for "
        rf"want of memory{_THEN}",
    ),
    Fault(
        what="hang",
        code=3,
        said=r"finetune: rank 1 gave no word for finetune\.timeout=10 seconds after step \d, and "
        rf"was ended{_THEN}",
    ),
    Fault(what="SIGTERM", code=143, said=f"finetune: stopped by SIGTERM{_SAVED}"),
    Fault(what="SIGINT", code=130, said=f"finetune: stopped by Ctrl-C{_SAVED}"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Faulty(Trainer):
    """A training in which something goes wrong, as the environment says."""

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        _spoil(os.environ[_ASKED], int(os.environ.get("RANK", "0")), folder)
        return Trainer.run(self, given, folder)


def _spoil(what: str, rank: int, folder: Path) -> None:
    from pipeline.finetune.engine import Engine

    event = Engine._maybe_log_save_evaluate

    def spoiled(self: Engine, *given: Any, **more: Any) -> None:
        event(self, *given, **more)
        if what in ("SIGTERM", "SIGINT"):
            time.sleep(0.2)
        if self.state.global_step < _STEP or rank == 0 or what == "nothing":
            return
        (folder / "fault").touch()
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise CheckError("finetune: the fault of a test")
        while what == "hang":
            time.sleep(1)

    Engine._maybe_log_save_evaluate = spoiled  # type: ignore[method-assign]


def measure(size: int, folder: Path) -> list[Figure]:
    """Let two processes suffer each fault `size` times."""
    began = time.monotonic()
    preload()
    given = make_given(folder)
    whole = finish(start(_stage(), given, folder / "whole", 2))
    assert not any(ended.code for ended in whole), whole
    bad: list[str] = []
    notes = []
    for fault in FAULTS:
        took = 0.0
        for number in range(size):
            own = folder / f"{fault.what}-{number}"
            found, seconds = suffer(fault, given, own, folder / "whole")
            bad += [f"{fault.what}: {said}" for said in found]
            took = max(took, seconds)
        notes.append(f"{fault.what}: all gone after {took:.1f} s at most")
    return [
        Figure(
            test="T5 two ranks",
            tried=size * len(FAULTS),
            what=f"trainings in two processes: {', '.join(fault.what for fault in FAULTS)}",
            bad=len(bad),
            promise=(
                "one line says the cause and where it goes on, the exit code is right, no process "
                f"is left {_MORE:g} s after the timeout, and the same command ends bit for bit the "
                "same"
            ),
            seconds=time.monotonic() - began,
            notes=(*notes, *bad),
        )
    ]


def _stage(cls: type[Trainer] = Trainer) -> Trainer:
    return cls(**asdict(trainer(**SETTINGS | {"timeout": _TIMEOUT})))


def suffer(fault: Fault, given: Given, own: Path, whole: Path) -> tuple[list[str], float]:
    """Train once with a fault, then to the end; return what was wrong, and how long the end took.

    Args:
        fault: What goes wrong.
        given: To train on.
        own: Folder to train in.
        whole: Of a training of the same in which nothing went wrong.
    """
    stage = MultiGpu(num_processes=2, main_process_port=None).place(_stage(Faulty))
    os.environ[_ASKED] = fault.what
    try:
        child = start(stage, given, own)[0]  # type: ignore[arg-type]  # any stage will do
    finally:
        del os.environ[_ASKED]
    if fault.what.startswith("SIG"):
        wait_until(lambda: steps_done(own) >= 2, child)
        kill(child, signal.Signals[fault.what])
        began = time.time()
    else:
        wait_until((own / "fault").exists, child, 60)
        began = (own / "fault").stat().st_mtime if (own / "fault").exists() else time.time()
    ended = finish([child], 120)[0]
    took = time.time() - began
    found = flaws(own)
    if ended.code != fault.code:
        found.append(f"exit code {ended.code}")
    said = f"error: {fault.said}\n" if fault.said else ""
    if not re.fullmatch(said, ended.stderr):
        found.append(f"it said {ended.stderr.strip()[-500:]!r}")
    if took > _TIMEOUT + _MORE:
        found.append(f"it took {took:.1f} s")
    if left := _left(own):
        found.append(f"left behind: {left}")
    (own / "fault").unlink(missing_ok=True)
    again = finish(start(_stage(), given, own, 2)) if fault.code else []
    if any(each.code for each in again):
        found.append(again[0].stderr.strip()[-300:])
    elif outcome(own) != outcome(whole):
        found.append("the result differs")
    return found, took


def _left(own: Path) -> list[str]:
    """Return what a launcher left behind: its processes, and its folder."""
    desk = own / ".launch"
    found = [str(desk)] if desk.exists() else []
    for each in psutil.process_iter():
        try:
            if str(desk) in each.cmdline():
                found.append(f"process {each.pid}")
        except psutil.Error:
            continue
    return found
