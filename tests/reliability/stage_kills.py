"""T1: SIGKILL at any moment of a pipeline, then the same again: nothing half made is ever used."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

from forked import Child, fork, start, wait

from reliability.cheap import STAGES, digests, flaws, leftovers, pipeline
from reliability.figures import Figure

__all__ = ["measure"]

_MOST = 3
"""Kills that one pipeline suffers."""
_PAUSE = 0.006
"""Seconds a stage sleeps for each file."""


def measure(size: int, folder: Path) -> list[Figure]:
    """Kill pipelines `size` times in all: one half at random, one half while a stage is sealed."""
    began = time.monotonic()
    whole = fork(pipeline(folder / "whole", pause=_PAUSE))
    assert whole.code == 0, whole.stderr
    expected = digests(folder / "whole/outputs/cheap/run")
    assert len(expected) == len(STAGES)
    chance = random.Random(size)  # noqa: S311 - the same moments again when something fails
    kills = cut = pipelines = 0
    bad: list[str] = []
    while kills < size:
        pipelines += 1
        home = folder / f"killed-{pipelines}"
        for _ in range(chance.randint(1, min(_MOST, size - kills))):
            child = start(pipeline(home, pause=_PAUSE))
            if chance.random() < 0.5:
                _until_sealed(home, chance, child)
            else:
                time.sleep(chance.uniform(0.0, whole.seconds))
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            if wait(child).code == 0:
                break  # it was faster
            kills += 1
            cut += any(home.glob("outputs/.store/*/.*.draft"))
            bad += [f"killed-{pipelines}: {flaw}" for flaw in flaws(home / "outputs/.store")]
        ended = fork(pipeline(home, pause=_PAUSE))
        found = flaws(home / "outputs/.store") + [f"left: {each}" for each in leftovers(home)]
        if ended.code != 0:
            found.append(ended.stderr.strip()[-300:])
        elif digests(home / "outputs/cheap/run") != expected:
            found.append("the result differs")
        bad += [f"killed-{pipelines}: {each}" for each in found]
    return [
        Figure(
            test="T1 stage kills",
            tried=kills,
            what="SIGKILLs in the middle of a pipeline",
            bad=len(bad),
            promise=(
                "every published folder is whole, and the same command ends with the digests of a "
                "pipeline that was never killed and leaves no draft"
            ),
            seconds=time.monotonic() - began,
            notes=(f"{pipelines} pipelines; {cut} of the kills cut a stage in two", *bad),
        )
    ]


def _sealed(stage: Path) -> bool:
    with suppress(FileNotFoundError):  # it was renamed while we looked
        return any(stage.glob(".*.draft/*seal.json*"))
    return True


def _until_sealed(home: Path, chance: random.Random, child: Child) -> None:
    """Wait until a certain stage is being sealed, and a little more."""
    stage = home / "outputs/.store" / chance.choice(STAGES)
    end = time.monotonic() + 10
    while not _sealed(stage) and time.monotonic() < end:
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.0005)
    time.sleep(chance.uniform(0.0, 0.004))
