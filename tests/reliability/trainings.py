"""Small trainings that are killed and started again, and what must be equal at their end."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
from test_finetune import Given, make_adapted, make_base, make_examples

from pipeline.finetune import Trainer
from pipeline.seal import flaw

__all__ = [
    "SETTINGS", "Outcome", "finish", "flaws", "kill", "make_given", "outcome", "preload", "run",
    "sleepy", "start", "steps_done", "wait_until",
]  # fmt: skip

SETTINGS: dict[str, Any] = {
    "num_train_epochs": 3,
    "loraplus_lr_ratio": None,
    "lr_scheduler_type": "cosine",
    "per_device_train_batch_size": 3,
    "save_steps": 1,
}
"""Nine steps of three micro-batches, an evaluation after every third, each step saved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What must not depend on how often a training was killed."""

    adapter: bytes
    metrics: tuple[dict[str, float], ...]
    """Every line, but for the seconds."""
    facts: tuple[object, ...]
    files: frozenset[str]


def preload() -> None:
    """Import once what every training imports."""
    forked.preload()
    import sklearn.metrics  # noqa: F401 - imported for the children

    import pipeline.finetune.training  # noqa: F401 - imported for the children


def make_given(folder: Path) -> Given:
    """Make a BERT with dropout, LoRA with dropout, and 22 rows to train on."""
    adapted = make_adapted(
        folder / "adapter", make_base(folder / "base", dropout=0.1), lora_dropout=0.2
    )
    return adapted, make_examples(folder / "examples")


def run(stage: Trainer, given: Given, folder: Path) -> Callable[[], None]:
    """Return what trains in `folder`, as the command line does, and leaves there what came out."""

    def train() -> None:
        from pipeline.errors import PipelineError
        from pipeline.launch import signals_as_exceptions

        folder.mkdir(parents=True, exist_ok=True)
        try:
            with signals_as_exceptions():
                made = stage.run(given, folder)
        except PipelineError as error:
            os.write(2, f"error: {error}\n".encode())
            raise SystemExit(error.exit_code) from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        if os.environ.get("RANK", "0") == "0":
            facts = [made.steps, made.best_step, made.best_metric, made.train_loss]
            (folder / "facts.json").write_text(json.dumps(facts))

    return train


def sleepy(seconds: float, folder: Path) -> Callable[[], None]:
    """Return what lets each micro-batch take that many seconds more; a file `slow` says when."""

    def change() -> None:
        from pipeline.finetune.engine import Engine

        step = Engine.training_step

        def slow(self: Engine, *given: Any, **more: Any) -> Any:
            (folder / "slow").touch()
            end = time.monotonic() + seconds
            while time.monotonic() < end:  # a signal wakes up
                time.sleep(0.01)
            return step(self, *given, **more)

        Engine.training_step = slow  # type: ignore[method-assign]

    return change


def start(
    stage: Trainer,
    given: Given,
    folder: Path,
    processes: int = 1,
    *,
    within: Callable[[], None] | None = None,
) -> list[forked.Child]:
    """Begin to train in one process, or in several that meet over gloo.

    `within` is called in each of them first.
    """
    train = run(stage, given, folder)

    def changed() -> None:
        if within is not None:
            within()
        train()

    if processes == 1:
        return [forked.start(changed)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"WORLD_SIZE": f"{processes}", "LOCAL_WORLD_SIZE": f"{processes}"}
    places |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    return [
        forked.start(
            changed,
            environment=places | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"},
        )
        for rank in range(processes)
    ]


def finish(children: list[forked.Child], timeout: float = 60.0) -> list[forked.Ended]:
    """Wait for all of them."""
    return [forked.wait(child, timeout=timeout) for child in children]


def kill(child: forked.Child, number: int = signal.SIGKILL) -> None:
    """Send a signal; a process that has ended already does not mind."""
    with suppress(ProcessLookupError):
        os.kill(child.pid, number)


def steps_done(folder: Path) -> int:
    """Return how many steps a training has written down so far."""
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b'"loss"') if file.exists() else 0


def outcome(folder: Path) -> Outcome:
    """Return what a training that ran to its end has left."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return Outcome(
        adapter=(folder / "adapter" / "adapter_model.safetensors").read_bytes(),
        metrics=tuple({k: v for k, v in line.items() if k != "seconds"} for line in lines),
        facts=tuple(json.loads((folder / "facts.json").read_text())),
        files=frozenset(each.relative_to(folder).as_posix() for each in folder.rglob("*")),
    )


def flaws(folder: Path) -> list[str]:
    """Return what is wrong with the published checkpoints below a folder."""
    every = (each for each in (folder / "checkpoints").glob("checkpoint-*") if each.suffix == "")
    return [f"{each.name}: {why}" for each in every if (why := flaw(each)) is not None]


def wait_until(told: Callable[[], bool], child: forked.Child, seconds: float = 30.0) -> None:
    """Wait until something is so, or the process has ended."""
    end = time.monotonic() + seconds
    while not told() and time.monotonic() < end:
        with suppress(ChildProcessError):
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
        time.sleep(0.0005)
