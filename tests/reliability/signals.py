"""T3: SIGTERM and Ctrl-C while training: the step is finished, all is saved, nothing goes on."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

from test_finetune import Given, trainer

from pipeline.finetune import Trainer
from reliability.figures import Figure
from reliability.trainings import (
    SETTINGS,
    finish,
    flaws,
    kill,
    make_given,
    outcome,
    preload,
    sleepy,
    start,
    steps_done,
    wait_until,
)

__all__ = ["measure"]

_SECONDS = 0.03
"""Of sleep in a micro-batch: so that most signals come in the middle of a step."""

_SAID = re.compile(
    r"error: finetune: stopped by (SIGTERM|Ctrl-C) after step (\d+) of 9; it is saved, and the "
    r"same command goes on from there\n"
)


def measure(size: int, folder: Path) -> list[Figure]:
    """Send `size` signals of each kind at random moments of trainings, and one twice."""
    preload()
    given = make_given(folder)
    stage = trainer(**SETTINGS | {"save_steps": 50})
    whole = finish(start(stage, given, folder / "whole"))[0]
    assert whole.code == 0, whole.stderr
    return [*_once(size, folder, given, stage), _twice(folder, given, stage)]


def _once(size: int, folder: Path, given: Given, stage: Trainer) -> list[Figure]:
    chance = random.Random(size)  # noqa: S311 - the same moments again when something fails
    figures = []
    for number in (signal.SIGTERM, signal.SIGINT):
        began = time.monotonic()
        bad: list[str] = []
        latencies: list[float] = []
        for count in range(size):
            own = folder / f"{number.name}-{count}"
            child = start(stage, given, own, within=sleepy(_SECONDS, own))[0]
            wait_until(lambda own=own: (own / "slow").exists(), child)  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 27 * _SECONDS))
            sent, seen = time.monotonic(), steps_done(own)
            kill(child, number)
            ended = finish([child])[0]
            latencies.append(time.monotonic() - sent)
            bad += [f"{own.name}: {why}" for why in _wrong(own, ended.code, ended.stderr, number)]
            if steps_done(own) > seen + 2:  # the one in progress, and one that ended meanwhile
                bad.append(f"{own.name}: {steps_done(own)} steps, {seen} when the signal came")
            again = finish(start(stage, given, own))[0]
            (own / "slow").unlink()
            if again.code != 0 or outcome(own) != outcome(folder / "whole"):
                bad.append(f"{own.name}: the result differs {again.stderr.strip()[-300:]}")
        figures.append(
            Figure(
                test="T3 signals",
                tried=size,
                what=f"{number.name} at random moments of a training",
                bad=len(bad),
                promise=(
                    f"the step is finished and sealed, exit code {128 + number}, one line says so, "
                    "and the same command ends bit for bit as if there had been no signal"
                ),
                seconds=time.monotonic() - began,
                notes=(f"the process was gone after {max(latencies):.2f} s at most", *bad),
            )
        )
    return figures


def _wrong(own: Path, code: int, said: str, number: int) -> list[str]:
    """Return what is not as promised of a training that was stopped."""
    found = flaws(own)
    if code != 128 + number:
        found.append(f"exit code {code}")
    match = _SAID.fullmatch(said)
    if match is None:
        found.append(f"it said {said!r}")
    elif not any((own / "checkpoints").glob(f"checkpoint-{match[2]}*")):
        found.append(f"step {match[2]} is not saved")
    if (own / "adapter").exists():
        found.append("there is a result")
    return found


def _twice(folder: Path, given: Given, stage: Trainer) -> Figure:
    began = time.monotonic()
    own = folder / "twice"
    child = start(stage, given, own, within=sleepy(60.0, own))[0]
    wait_until((own / "slow").exists, child)
    kill(child, signal.SIGTERM)
    time.sleep(0.2)
    bad = [] if _alive(child.pid) else ["the first signal did not wait for the step"]
    sent = time.monotonic()
    kill(child, signal.SIGTERM)
    ended = finish([child])[0]
    latency = time.monotonic() - sent
    if ended.code != 128 + signal.SIGTERM or latency > 1:
        bad.append(f"exit code {ended.code} after {latency:.2f} s")
    again = finish(start(stage, given, own))[0]
    (own / "slow").unlink()
    if again.code != 0 or outcome(own) != outcome(folder / "whole"):
        bad.append(f"the result differs {again.stderr.strip()[-300:]}")
    return Figure(
        test="T3 signals",
        tried=1,
        what="second SIGTERM during a step of minutes",
        bad=len(bad),
        promise="the process is gone at once, exit code 143, and the same command works",
        seconds=time.monotonic() - began,
        notes=(f"gone after {latency:.3f} s", *bad),
    )


def _alive(number: int) -> bool:
    import psutil

    return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
