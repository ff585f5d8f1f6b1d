"""T9: random overrides, broken YAML, broken files; each ends cleanly, soon, and runs nothing."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from forked import preload, start, wait

from reliability.arena import CANARY
from reliability.broken_files import broken_files
from reliability.figures import Figure
from reliability.words import overrides, recipe

__all__ = ["measure"]

_LONGEST = 5.0
"""Seconds for one input."""
_MOST_MEMORY = 500 * 2**20
"""Bytes that one input may take."""
_BATCH = 125
"""Inputs in one fork."""

Case = tuple[str, Callable[[], object]]


def measure(size: int, folder: Path) -> list[Figure]:
    """Try `size` command lines, half as many recipes and a quarter as many files.

    Args:
        size: Of the first kind.
        folder: For their files.
    """
    kinds: tuple[tuple[str, int, Callable[[random.Random, Path], Case]], ...] = (
        ("command lines of random overrides", size, _typed),
        ("recipes with random mistakes", size // 2, _written),
        ("manifests, seals, configs and weights with random damage", size // 4, broken_files),
    )
    preload()  # so that the time of an input is its own, not that of importing peft
    return [_measure(*kind, folder / str(number)) for number, kind in enumerate(kinds)]


def _measure(
    what: str, count: int, make: Callable[[random.Random, Path], Case], folder: Path
) -> Figure:
    started = time.monotonic()
    ends: list[dict[str, object]] = []
    for first in range(0, count, _BATCH):
        here = folder / str(first)
        here.mkdir(parents=True)
        numbers = range(first, min(first + _BATCH, count))
        ends += _batch(numbers, make, here)
        shutil.rmtree(here)
    unclean = [end for end in ends if end["unclean"]]
    accepted = sum(end["code"] == 0 for end in ends)
    return Figure(
        test="T9 fuzz",
        tried=count,
        what=what,
        bad=len(unclean) + count - len(ends),
        promise="one line and its exit code, or a plan; within 5 s and 500 MB; nothing is run",
        seconds=time.monotonic() - started,
        notes=(
            f"{accepted} accepted, {len(ends) - accepted} refused",
            *(json.dumps(end) for end in unclean[:20]),
        ),
    )


def _batch(
    numbers: Sequence[int], make: Callable[[random.Random, Path], Case], here: Path
) -> Iterator[dict[str, object]]:
    """Try the inputs with these numbers in a fork, each in a folder of its own."""
    told = here / "told.jsonl"

    def work() -> None:
        _warm()
        with told.open("w", buffering=1) as stream:
            for number in numbers:
                place = here / str(number)
                place.mkdir()
                os.chdir(place)
                given, act = make(random.Random(number), place)  # noqa: S311 - to repeat it
                stream.write(json.dumps({"number": number, "given": given} | _tried(act)) + "\n")
                shutil.rmtree(place)

    ended = wait(start(work, cwd=here), timeout=60 + _LONGEST * len(numbers))
    ends = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
    if ended.code != 0:  # the input after the last one that was told ended the process
        ends.append({"code": ended.code, "unclean": f"ended the process: {ended.stderr[-500:]}",
                     "given": f"number {numbers[min(len(ends), len(numbers) - 1)]}"})  # fmt: skip
    return iter(ends)


def _warm() -> None:
    from pipeline.check import check
    from pipeline.recipes import serve_recipes

    serve_recipes()
    check(["+recipe=lora_bert"])


def _tried(act: Callable[[], object]) -> dict[str, object]:
    """Do it; tell its exit code, and what was unclean about its end."""
    from pipeline.errors import PipelineError

    before, started = _peak(), time.monotonic()
    unclean, code = "", 0
    try:
        with _limit():
            act()
    except PipelineError as error:
        code = error.exit_code
        if not str(error).strip():
            unclean = "says nothing"
    except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
        code, unclean = 1, traceback.format_exc()[-800:]
    seconds, more = time.monotonic() - started, _peak() - before
    if seconds > _LONGEST:
        unclean += f" took {seconds:.1f} s"
    if more > _MOST_MEMORY:
        unclean += f" took {more / 2**20:.0f} MB"
    if Path(CANARY).exists():
        unclean += " ran code"
    return {"code": code, "unclean": unclean}


@contextmanager
def _limit() -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {_LONGEST} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST + 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _typed(chance: random.Random, place: Path) -> Case:
    from pipeline.check import check

    given = overrides(chance)
    return repr(given), lambda: check(given)


def _written(chance: random.Random, place: Path) -> Case:
    from pipeline.check import check

    group = chance.choice(("recipe", "recipe", "adapter", "data"))
    file = place / f"mine/{group}/fuzzed.yaml"
    file.parent.mkdir(parents=True)
    text = recipe(chance, group)
    file.write_bytes(text)
    words = ["+recipe=fuzzed"] if group == "recipe" else ["+recipe=lora_bert", f"{group}=fuzzed"]
    given = ["--config-dir", "mine", *words]
    return f"{group} {text!r}"[:2000], lambda: check(given)
