"""T6: any damage to any file of what was made is seen, and what was damaged is made again."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from pipeline.seal import SEAL, flaw, seal
from reliability.cheap import BUILT, built, digests, leftovers, pipeline
from reliability.figures import Figure

__all__ = ["DAMAGES", "measure"]


def _flip(file: Path, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def _truncate(file: Path, chance: random.Random) -> None:
    os.truncate(file, chance.randrange(file.stat().st_size))


def _append(file: Path, chance: random.Random) -> None:
    with file.open("ab") as stream:
        stream.write(chance.choice((b"\n", b" ", b"\0", b"x")))


def _delete(file: Path, chance: random.Random) -> None:
    file.unlink()


def _extra(file: Path, chance: random.Random) -> None:
    file.with_name(f"{file.name}.{chance.randrange(10**6)}").touch()


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (
    _flip,
    _truncate,
    _append,
    _delete,
    _extra,
)


def measure(size: int, folder: Path) -> list[Figure]:
    """Do `size` damages: each file in turn, and each kind of damage to it."""
    began = time.monotonic()
    whole = folder / "whole"
    pipeline(whole)()
    expected = digests(whole / "outputs/cheap/run")
    checkpoint = _checkpoint(whole / "checkpoint-4")
    sealed = sorted(each.parent for each in whole.rglob(SEAL))
    files = [
        (where, file)
        for where in sealed
        for file in sorted(each for each in where.rglob("*") if each.is_file())
    ]
    chance = random.Random(size)  # noqa: S311 - the same damages again when something fails
    every = list(itertools.product(files, DAMAGES))
    chance.shuffle(every)
    bad: list[str] = []
    again = 0
    for number, ((where, file), damage) in zip(range(size), itertools.cycle(every), strict=False):
        home = folder / "damaged"
        shutil.copytree(whole, home, symlinks=True)
        own = home / where.relative_to(whole)
        damage(home / file.relative_to(whole), chance)
        case = f"{damage.__name__[1:]} {file.relative_to(whole)}"
        if flaw(own) is None:
            bad.append(f"{number}: {case}: not seen")
        if where != checkpoint:
            again += 1
            found = _run_again(home, own, expected)
            bad += [f"{number}: {case}: {each}" for each in found]
        shutil.rmtree(home)
    return [
        Figure(
            test="T6 corruption",
            tried=size,
            what=f"damages to {len(files)} files of sealed folders, seals included",
            bad=len(bad),
            promise=(
                "each is seen; a stage whose files are damaged runs again and ends with equal "
                "digests, and what was damaged is set aside"
            ),
            seconds=time.monotonic() - began,
            notes=(f"{again} of them in the store, each followed by a run", *bad),
        )
    ]


def _checkpoint(folder: Path) -> Path:
    """Seal a folder with files as a training's checkpoint has."""
    (folder / "rank").mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(bytes(range(256)) * 8)
    (folder / "state.json").write_text('{"step": 4, "loss": 0.25}')
    (folder / "rank/random-0").write_bytes(b"\7" * 99)
    seal(folder, {"step": 4, "loss": 0.1})
    return folder


def _run_again(home: Path, own: Path, expected: dict[str, str]) -> list[str]:
    """Run the pipeline in a new run folder; return what is wrong with how it went."""
    log = home / "built"
    with mock.patch.dict(os.environ, {BUILT: str(log)}):
        pipeline(home, "again")()
    found = []
    if built(log) != [own.parent.name]:
        found.append(f"{built(log)} ran, not {own.parent.name} alone")
    if not any(own.parent.glob(".damaged-*")):
        found.append("it was not set aside")
    found += [
        f"{run}: the result differs"
        for run in ("run", "again")  # the older one sees the new files: its link has their name
        if digests(home / "outputs/cheap" / run) != expected
    ]
    rest = [each for each in leftovers(home) if ".damaged-" not in each]
    return found + [f"left: {each}" for each in rest]
