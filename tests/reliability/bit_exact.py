"""T4: every setting that could make a resumed training another one, killed in the middle."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from test_finetune import Given, make_examples, trainer

from pipeline.finetune.trainer import SCHEDULES
from reliability.figures import Figure
from reliability.trainings import SETTINGS, finish, flaws, make_given, outcome, preload, start

__all__ = ["CASES", "Case", "Moment", "kill_and_go_on", "measure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """Settings under which a killed training must end as one that was not."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    rows: int = 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """When a process dies: at the end of a step or of an epoch, each counts as one event."""

    event: int
    """Counted from 0. After a step, and after an epoch: log, evaluate, save."""
    saved: bool
    """Whether that is after what the event does, or before."""


CASES: dict[str, Case] = {
    "as it comes": Case(),
    "no accumulation": Case(changes={"per_device_train_batch_size": 8}),
    "one row at once": Case(changes={"per_device_train_batch_size": 1}),
    "two workers": Case(changes={"dataloader_num_workers": 2}),
    "bf16": Case(changes={"mixed_precision": "bf16"}),
    "rows in any order": Case(changes={"group_by_length": False}),
    "stopping early": Case(changes={"early_stopping_patience": 1, "learning_rate": 1e-12}),
    "half an epoch at the end": Case(changes={"num_train_epochs": 2.5}),
    "saving every other step": Case(changes={"save_steps": 2}),
    "saving at evaluations alone": Case(changes={"save_steps": 50}),
    "gradients as they are": Case(changes={"max_grad_norm": 0.0}),
    "the last step smaller": Case(rows=17),
    **{
        f"schedule {name}": Case(
            changes={"lr_scheduler_type": name, "warmup_steps": 0 if name == "constant" else 2}
        )
        for name in SCHEDULES
    },
    "two processes": Case(processes=2),
    "two processes, one without rows at the last step": Case(processes=2, rows=17),
    "three processes": Case(  # two summands have one sum; of three the order counts
        processes=3, changes={"train_batch_size": 9, "learning_rate": 0.05}
    ),
    "two processes, bf16, stopping early": Case(
        processes=2,
        changes={
            "mixed_precision": "bf16", "early_stopping_patience": 1, "learning_rate": 1e-12,
        },
    ),
}  # fmt: skip


def measure(size: int, folder: Path) -> list[Figure]:
    """Kill a training of every case `size` times, each time at another moment."""
    preload()
    given = make_given(folder)
    figures = []
    for several in (False, True):
        began = time.monotonic()
        tried, bad = 0, list[str]()
        how_many = "two or three processes" if several else "one process"
        cases = {name: case for name, case in CASES.items() if (case.processes > 1) is several}
        for name, case in cases.items():
            chance = random.Random(f"{name} {size}")  # noqa: S311 - the same again on failure
            moments = [
                Moment(event=chance.randrange(8), saved=chance.random() < 0.5) for _ in range(size)
            ]
            tried += len(moments)
            found = kill_and_go_on(case, given, folder / name, moments)
            bad += [f"{name}: {said}" for said in found]
        figures.append(
            Figure(
                test="T4 bit-exact resume",
                tried=tried,
                what=f"kills in {len(cases)} cases of {how_many}",
                bad=len(bad),
                promise="adapter, metrics and facts are those of a training that was never killed",
                seconds=time.monotonic() - began,
                notes=(f"cases: {'; '.join(cases)}", *bad),
            )
        )
    return figures


def kill_and_go_on(case: Case, given: Given, folder: Path, moments: list[Moment]) -> list[str]:
    """Train once without a kill and once for each moment; return what came out different."""
    folder.mkdir()
    both = given[0], make_examples(folder / "examples", train=case.rows)
    stage = trainer(**{**SETTINGS, **case.changes})
    for ended in finish(start(stage, both, folder / "whole", case.processes)):
        assert ended.code == 0, ended.stderr
    expected = outcome(folder / "whole")
    found = []
    for number, moment in enumerate(moments):
        own = folder / f"{number}"
        ended_by = finish(start(stage, both, own, case.processes, within=_deadly(moment)))
        found += [f"{moment}: {flaw}" for flaw in flaws(own)]
        if ended_by[-1].code != -signal.SIGKILL:
            found.append(f"{moment}: the last process ended with {ended_by[-1].code}")
        again = finish(start(stage, both, own, case.processes))
        if any(ended.code for ended in again):
            found.append(f"{moment}: {again[0].stderr.strip()[-300:]}")
        elif outcome(own) != expected:
            found.append(f"{moment}: the result differs")
    return found


def _deadly(moment: Moment) -> Callable[[], None]:
    """Let the last process of a training die at a moment."""

    def change() -> None:
        from pipeline.finetune.engine import Engine

        event = Engine._maybe_log_save_evaluate
        events = 0

        def deadly(self: Engine, *given: Any, **more: Any) -> None:
            nonlocal events
            mine = events == moment.event and self.args.process_index == self.args.world_size - 1
            if mine and not moment.saved:
                os.kill(os.getpid(), signal.SIGKILL)
            event(self, *given, **more)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            events += 1

        Engine._maybe_log_save_evaluate = deadly  # type: ignore[method-assign]

    return change
