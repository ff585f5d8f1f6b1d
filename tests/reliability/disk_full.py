"""T7: a disk without room, at every place where a training writes.

Two ways, both in a fork: the system refuses to let a file grow beyond a size (RLIMIT_FSIZE), which
stops real writes in the middle; and the n-th file that is opened, folder that is made, rename or
flush to the disk fails with ENOSPC.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from conftest import write_rows
from forked import Ended, command_line, fork
from safetensors import SafetensorError
from test_finetune import Given, make_adapted, make_base, make_examples, metrics, trainer

from pipeline import seal
from pipeline.errors import PipelineError
from reliability.figures import Figure

__all__ = ["fail_at", "limit_files", "measure", "measure_runs"]

_FULL = "No space left on device"
_EVENTS = {"open", "os.mkdir", "os.rename", "os.truncate", "shutil.copyfile"}


def measure(size: int, folder: Path) -> list[Figure]:
    """Train with `size` limits on a file's size, and with as many failing calls."""
    adapted = make_adapted(folder / "adapter", make_base(folder / "base"), lora_dropout=0.1)
    given = adapted, make_examples(folder / "examples", train=44)
    calm = folder / "calm"
    count = fork(_training(given, calm, lambda: counter(calm)))
    assert count.code == 0, count.stderr
    counted = count.stdout.split()
    sizes = sorted({int(size) for size in counted[1:]})
    return [
        _sweep(
            "sizes beyond which no file could grow",
            {f"limit of {limit} bytes": limit_files(limit) for limit in _spread(sizes, size)},
            given,
            calm,
            folder / "limits",
        ),
        _sweep(
            "files, folders, renames and flushes for which there was no room",
            {
                f"call {number} of {counted[0]}": fail_at(number, folder / "calls")
                for number in _numbers(int(counted[0]), size)
            },
            given,
            calm,
            folder / "calls",
        ),
    ]


def _numbers(most: int, size: int) -> list[int]:
    return sorted({round(number * (most - 1) / max(1, size - 1)) for number in range(size)})


def _spread(sizes: list[int], size: int) -> list[int]:
    """Return limits up to the size of the largest file: the lines of a log are small."""
    return sorted({round(limit) for limit in np.geomspace(100, sizes[-1] - 1, size)})


def _sweep(
    what: str, points: dict[str, Callable[[], None]], given: Given, calm: Path, folder: Path
) -> Figure:
    started = time.monotonic()
    failures = [
        f"{name}: {why}"
        for number, (name, hinder) in enumerate(points.items())
        for why in _try(hinder, given, calm, folder / str(number))
    ]
    return Figure(
        test="T7 disk full",
        tried=len(points),
        what=what,
        bad=len(failures),
        promise="exit 3 with one sentence, every checkpoint whole, and the same work afterwards "
        "ends with the bytes of an undisturbed one",
        seconds=time.monotonic() - started,
        notes=tuple(failures),
    )


def _try(hinder: Callable[[], None], given: Given, calm: Path, out: Path) -> Iterator[str]:
    """Train with something in the way, then without; yield what was not as promised."""
    first = fork(_training(given, out, hinder))
    yield from _how_it_ended(first, out)
    for checkpoint in (out / "checkpoints").glob("checkpoint-*"):
        if (flaw := seal.flaw(checkpoint)) is not None:
            yield f"{checkpoint.name}: {flaw}"
    again = fork(_training(given, out, lambda: None))
    if again.code != 0:
        yield f"the same work afterwards ended with {again.code}: {again.stderr[-300:]}"
        return
    if _result(out) != _result(calm):
        yield "the same work afterwards gave something else"


def _how_it_ended(ended: Ended, out: Path) -> Iterator[str]:
    said = [line for line in ended.stderr.splitlines() if line.startswith("finetune: ")]
    if ended.code != 3:
        yield f"exit {ended.code}: {ended.stderr[-300:]}"
    elif len(said) != 1 or str(out) not in said[0] or " free" not in said[0]:
        yield f"it said {ended.stderr[-300:]!r}"


def _result(folder: Path) -> dict[str, Any]:
    """Return what a training leaves, without how long it took."""
    files = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "metrics.jsonl"
    }
    steps = [{**line, "seconds": 0} for line in metrics(folder)]
    return files | {"metrics.jsonl": steps}


def _training(given: Given, out: Path, hinder: Callable[[], None]) -> Callable[[], None]:
    stage = trainer(num_train_epochs=2, save_steps=2)

    def run() -> None:
        out.mkdir(parents=True, exist_ok=True)
        hinder()
        try:
            stage.run(given, out)
        except PipelineError as error:
            _let_go()
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)
        finally:
            _let_go()

    return run


# -- what is in the way -----------------------------------------------------------------------


def limit_files(size: int) -> Callable[[], None]:
    """Return what keeps files of this process from growing beyond `size` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return limit


def _let_go() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def fail_at(number: int, folder: Path) -> Callable[[], None]:
    """Return what lets the call of a number fail that writes below `folder`, counted from 0."""

    def fail() -> None:
        _hook(folder, lambda seen: seen == number)

    return fail


def counter(folder: Path) -> None:
    """Say at the end how many calls there were, and how large files are when they are flushed."""
    calls = _hook(folder, lambda _: False)
    sizes: set[int] = set()
    flush = os.fsync

    def flushed(fd: Any) -> None:
        sizes.add(os.fstat(fd).st_size)
        flush(fd)

    os.fsync = flushed
    leave = os._exit

    def told(code: int) -> None:
        sys.stdout.write(" ".join(map(str, [next(calls), *sorted(sizes)])))
        sys.stdout.flush()
        leave(code)

    os._exit = told  # type: ignore[assignment]


def _hook(folder: Path, fails: Callable[[int], bool]) -> Iterator[int]:
    calls = itertools.count()
    here = str(folder)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not str(given[0]).startswith(here):
            return
        if event == "open" and not _writes(given[1], given[2]):
            return
        if event == "os.mkdir" and Path(given[0]).exists():
            return  # to ask for a folder that is there takes no room
        if fails(next(calls)):
            raise OSError(errno.ENOSPC, _FULL, given[0])

    sys.addaudithook(hook)
    flush, write = os.fsync, safetensors.torch.serialize_file

    def flushed(fd: Any) -> None:
        if fails(next(calls)):
            raise OSError(errno.ENOSPC, _FULL)
        flush(fd)

    def written(tensors: Any, file: Any, *given: Any, **more: Any) -> None:
        if str(file).startswith(here) and fails(next(calls)):
            Path(file).write_bytes(b"half a file")
            raise SafetensorError(f"Error while serializing: I/O error: {_FULL} (os error 28)")
        write(tensors, file, *given, **more)

    os.fsync = flushed
    safetensors.torch.serialize_file = written
    return calls


def _writes(mode: str | None, flags: int) -> bool:
    return any(letter in mode for letter in "wax+") if mode else bool(flags & os.O_ACCMODE)


# -- whole runs -------------------------------------------------------------------------------


def measure_runs(size: int, folder: Path) -> list[Figure]:
    """Run the whole pipeline with `size` limits on a file's size, then without one."""
    started = time.monotonic()
    rows = write_rows(folder / "rows.jsonl", 60)
    arguments = (
        "+recipe=lora_bert", "model=random_bert", "data=jsonl", f"data.train={rows}",
        "visualize.pictures=never", "visualize.open=never",
    )  # fmt: skip
    calm = folder / "calm"
    calm.mkdir()
    ended = fork(command_line(*arguments), cwd=calm)
    assert ended.code == 0, ended.stderr
    expected = _exported(calm)
    largest = max(len(each) for each in expected.values())
    points = sorted({round(limit) for limit in np.geomspace(2000, largest - 1, size)})
    failures: list[str] = []
    for limit in points:
        out = folder / str(limit)
        out.mkdir()
        first = fork(_limited(limit, *arguments), cwd=out)
        failures += [f"limit of {limit} bytes: {why}" for why in _how_a_run_ended(first)]
        for entry in (out / "outputs" / ".store").glob("*/[!.]*"):
            if (flaw := seal.flaw(entry)) is not None:
                failures.append(f"limit of {limit} bytes: {entry}: {flaw}")
        again = fork(command_line(*arguments), cwd=out)
        if again.code != 0:
            failures.append(f"limit of {limit} bytes: afterwards {again.code}: {again.stderr}")
        elif _exported(out) != expected:
            failures.append(f"limit of {limit} bytes: the same command gave other bytes")
    return [
        Figure(
            test="T7 disk full",
            tried=len(points),
            what="whole runs in which no file could grow beyond a size",
            bad=len(failures),
            promise="exit 3 with one line, every published folder whole, and the same command "
            "afterwards exports the bytes of an undisturbed run",
            seconds=time.monotonic() - started,
            notes=tuple(failures),
        )
    ]


def _limited(limit: int, *arguments: str) -> Callable[[], None]:
    run = command_line(*arguments)

    def limited() -> None:
        limit_files(limit)()
        try:
            run()
        finally:
            _let_go()

    return limited


def _how_a_run_ended(ended: Ended) -> Iterator[str]:
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    if ended.code != 3:
        yield f"exit {ended.code}: {ended.stderr[-300:]}"
    if len(lines) != 1 or " free" not in lines[0] or "Traceback" in ended.stderr:
        yield f"it said {ended.stderr[-600:]!r}"


def _exported(folder: Path) -> dict[str, bytes]:
    run = folder / "outputs" / "lora_bert" / "latest"
    found = [*(run / "4_finetune" / "adapter").iterdir(), *(run / "5_export").rglob("*.onnx*")]
    found += (run / "5_export").rglob("*.safetensors")
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in found}
