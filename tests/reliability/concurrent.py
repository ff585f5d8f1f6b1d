"""T11: many processes at once: one a run folder, one a stage, and a folder for each start."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from forked import Ended, start, wait

from pipeline.claim import claimed
from pipeline.errors import FolderTakenError
from reliability.cheap import BUILT, STAGES, built, digests, flaws, leftovers, pipeline
from reliability.figures import Figure

__all__ = ["measure"]

_LONGEST = 30.0
"""Seconds to wait for one another."""


def measure(size: int, folder: Path) -> list[Figure]:
    """Start `size` processes at once: on one folder, in one second, and on one store."""
    return [
        _figure("one run folder, chosen", size, "one works, the others name it and exit 75",
                _one_folder, folder / "chosen"),
        _figure("starts in the same second", size, "each has a folder of its own",
                _one_second, folder / "second"),
        _figure("runs of the same stages on one store", size,
                "each stage runs once, and all runs end whole and equal",
                _one_store, folder / "store"),
    ]  # fmt: skip


def _figure(
    what: str, size: int, promise: str, try_it: Callable[[int, Path], list[str]], folder: Path
) -> Figure:
    began = time.monotonic()
    folder.mkdir(parents=True)
    bad = try_it(size, folder)
    return Figure(
        test="T11 concurrency",
        tried=size,
        what=f"processes at once: {what}",
        bad=len(bad),
        promise=promise,
        seconds=time.monotonic() - began,
        notes=tuple(bad),
    )


def _one_folder(size: int, folder: Path) -> list[str]:
    ended = _at_once(size, folder, folder / "run", chosen=True)
    won = [each for each in ended if each.code == 0]
    if len(won) != 1:
        return [f"{len(won)} processes worked: {[each.stderr for each in ended]}"]
    pid = won[0].stdout.split()[0]
    lost = [each for each in ended if each.code != 0]
    return [
        f"exit code {each.code}: {each.stderr}"
        for each in lost
        if each.code != 75 or f"process {pid} on " not in each.stderr
    ]


def _one_second(size: int, folder: Path) -> list[str]:
    ended = _at_once(size, folder, folder / "runs/2026-11-23_07-54-08", chosen=False)
    bad = [f"exit code {each.code}: {each.stderr}" for each in ended if each.code != 0]
    names = {each.stdout.split()[-1] for each in ended if each.stdout}
    there = {str(each) for each in (folder / "runs").iterdir()}
    return bad if len(names) == size and names == there else [*bad, f"folders: {sorted(names)}"]


def _one_store(size: int, folder: Path) -> list[str]:
    log = folder / "built"
    gate = folder / "go"

    def run(number: int) -> Callable[[], None]:
        def wait_and_run() -> None:
            _wait_for(gate.exists)
            pipeline(folder, f"run-{number}", pause=0.02)()

        return wait_and_run

    children = [start(run(number), environment={BUILT: str(log)}) for number in range(size)]
    gate.touch()
    ended = [wait(child) for child in children]
    bad = [f"exit code {each.code}: {each.stderr[-300:]}" for each in ended if each.code != 0]
    if sorted(built(log)) != sorted(STAGES):
        bad.append(f"these ran: {sorted(built(log))}")
    results = [digests(folder / f"outputs/cheap/run-{number}") for number in range(size)]
    if any(each != results[0] or len(each) != len(STAGES) for each in results):
        bad.append("the results differ")
    return bad + flaws(folder / "outputs/.store") + leftovers(folder)


def _at_once(size: int, folder: Path, mine: Path, *, chosen: bool) -> list[Ended]:
    """Let processes claim a folder at once; who gets it holds it until all have been answered."""
    answers = folder / "answers"
    answers.mkdir()
    gate = folder / "go"

    def claim() -> None:
        _wait_for(gate.exists)
        answer = answers / f"{os.getpid()}"
        try:
            with claimed(mine, chosen=chosen, sweeping=False) as got:
                os.write(1, f"{os.getpid()} {got}\n".encode())
                answer.touch()
                _wait_for(lambda: len(list(answers.iterdir())) == size)
        except FolderTakenError as error:
            answer.touch()
            os.write(2, f"error: {error}\n".encode())
            raise SystemExit(error.exit_code) from error

    children = [start(claim) for _ in range(size)]
    gate.touch()
    return [wait(child) for child in children]


def _wait_for(told: Callable[[], bool]) -> None:
    end = time.monotonic() + _LONGEST
    while not told() and time.monotonic() < end:
        time.sleep(0.002)
