"""T2: SIGKILL at any moment of a training, then the same again: not a bit is lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

from forked import Child
from test_finetune import trainer

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
    wait_until,
)

__all__ = ["measure"]

_MOST = 3
"""Kills that one training suffers."""


def measure(size: int, folder: Path) -> list[Figure]:
    """Kill trainings `size` times in all: one half at random, one half while they save."""
    began = time.monotonic()
    preload()
    given, stage = make_given(folder), trainer(**SETTINGS)
    whole = finish(start(stage, given, folder / "whole"))[0]
    assert whole.code == 0, whole.stderr
    expected = outcome(folder / "whole")
    chance = random.Random(size)  # noqa: S311 - the same moments again when something fails
    kills = saving = trainings = 0
    bad: list[str] = []
    while kills < size:
        trainings += 1
        own = folder / f"killed-{trainings}"
        for _ in range(chance.randint(1, min(_MOST, size - kills))):
            child = start(stage, given, own)[0]
            if chance.random() < 0.5:
                _while_saving(own, chance, child)
            else:
                time.sleep(chance.uniform(0.0, whole.seconds))
            kill(child)
            if finish([child])[0].code == 0:
                break  # it was faster
            kills += 1
            saving += any((own / "checkpoints").glob(".checkpoint-*"))
            bad += [f"killed-{trainings}: {flaw}" for flaw in flaws(own)]
        ended = finish(start(stage, given, own))[0]
        if ended.code != 0:
            bad.append(f"killed-{trainings}: {ended.stderr.strip()[-300:]}")
        elif outcome(own) != expected:
            bad.append(f"killed-{trainings}: the result differs")
    return [
        Figure(
            test="T2 training kills",
            tried=kills,
            what="SIGKILLs in the middle of a training that saves every step",
            bad=len(bad),
            promise=(
                "every published checkpoint is whole, and the same command ends with the adapter, "
                "the metrics and the facts of a training that was never killed, bit for bit"
            ),
            seconds=time.monotonic() - began,
            notes=(
                f"{trainings} trainings; {saving} of the kills left a checkpoint half written",
                *bad,
            ),
        )
    ]


def _while_saving(folder: Path, chance: random.Random, child: Child) -> None:
    """Wait until a certain checkpoint is being written, and a little more."""
    step = chance.randint(1, 9)
    checkpoints = folder / "checkpoints"
    wait_until(lambda: any(checkpoints.glob(f".checkpoint-{step}*")), child)
    time.sleep(chance.uniform(0.0, 0.004))
