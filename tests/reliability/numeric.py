"""T12: numbers that lie. A fault is put into one step of a training, which must stop there."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file
from test_finetune import Given, make_adapted, make_base, make_examples, trainer

from pipeline.artifacts import AdaptedModel
from pipeline.errors import CheckError
from pipeline.finetune.engine import Engine
from pipeline.finetune.sampler import epoch_steps
from reliability.figures import Figure

__all__ = ["Fault", "injected", "measure", "prepare", "rows_of_step"]

QUERY = "bert.encoder.layer.1.attention.self.query"
_ROWS = 44


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One number that lies."""

    where: Literal["loss", "output", "gradient"]
    factor: float
    """What it is multiplied with: nan, inf, or so much that it explodes."""
    step: int
    """Counted from 1."""
    module: str = QUERY
    row: int | None = None
    """Place in the batch; None is all of it."""


@dataclass(slots=True)
class Seen:
    """What the training looked like when the fault came."""

    model: torch.nn.Module | None = None
    step: int = 0
    before: dict[str, torch.Tensor] | None = None
    """What trains, as the step of the fault found it."""
    optimizer_steps: int = 0


@contextmanager
def injected(fault: Fault, rank: int = 0) -> Iterator[Seen]:
    """Train with a fault in one step of one process, however often it is computed."""
    seen = Seen()
    load, draw, loss_of = AdaptedModel.load, Engine.get_batch_samples, Engine.compute_loss

    def changed(value: torch.Tensor) -> torch.Tensor:
        if seen.step != fault.step:
            return value
        if fault.row is None:
            return value * fault.factor
        value = value.clone()
        value[fault.row] *= fault.factor
        return value

    def loaded(self: AdaptedModel, *, trainable: bool = False) -> Any:
        model = load(self, trainable=trainable)
        seen.model, seen.step = model, 0
        layer = model.get_base_model().get_submodule(fault.module)
        if fault.where == "output":
            layer.register_forward_hook(lambda _, __, output: changed(output))
        if fault.where == "gradient":
            layer.lora_B["default"].weight.register_hook(changed)
        return model

    def drawn(self: Engine, *given: Any) -> Any:
        if self.args.process_index == rank:
            seen.step = self.state.global_step + 1
        if self.state.global_step + 1 == fault.step:
            seen.before = _trained(cast("torch.nn.Module", seen.model))
        seen.optimizer_steps = self.state.global_step
        return draw(self, *given)

    def computed(self: Engine, *given: Any, **more: Any) -> Any:
        value = loss_of(self, *given, **more)
        return changed(value) if fault.where == "loss" else value

    with (
        patch.object(AdaptedModel, "load", loaded),
        patch.object(Engine, "get_batch_samples", drawn),
        patch.object(Engine, "compute_loss", computed),
    ):
        yield seen


def rows_of_step(given: Given, step: int, batch: int, seed: int) -> list[int]:
    """Return the rows of an optimizer step, counted from 1, drawn by length."""
    lengths = np.asarray(given[1].load("train")["length"])
    epoch, number = divmod(step - 1, -(-len(lengths) // batch))
    rows = epoch_steps(lengths, batch, seed=seed, epoch=epoch, by_length=True)[number]
    return sorted(int(row) for row in rows)


def prepare(folder: Path) -> Given:
    """Make a BERT of two layers with LoRA and dropout, and rows for it."""
    adapted = make_adapted(folder / "adapter", make_base(folder / "base"), lora_dropout=0.1)
    return adapted, make_examples(folder / "examples", train=_ROWS)


def measure(size: int, folder: Path) -> list[Figure]:
    """Train `size` times with a fault, each in another place, step, or kind of training."""
    started = time.monotonic()
    given = prepare(folder)
    failures: list[str] = []
    cases = list(itertools.islice(_cases(), size))
    for number, (fault, settings) in enumerate(cases):
        out = folder / f"run-{number}"
        out.mkdir()
        failures += [f"{fault} with {settings}: {why}" for why in _try(fault, settings, given, out)]
    return [
        Figure(
            test="T12 numeric guard",
            tried=len(cases),
            what="losses, outputs and gradients that are NaN, infinite or explode",
            bad=len(failures),
            promise="stopped before that step changes a weight, the module named, exit 4, "
            "checkpoints finite, no adapter handed on",
            seconds=time.monotonic() - started,
            notes=tuple(failures),
        )
    ]


def _cases() -> Iterator[tuple[Fault, dict[str, Any]]]:
    """Yield every kind of fault first, then each at other steps and in other trainings."""
    trainings: Sequence[dict[str, Any]] = (
        {},
        {"per_device_train_batch_size": 3},
        {"max_grad_norm": 0.0},
        {"mixed_precision": "bf16", "group_by_length": True},
    )
    kinds = [
        ("loss", math.nan), ("output", math.nan), ("gradient", math.nan), ("loss", math.inf),
        ("output", math.inf), ("gradient", math.inf), ("loss", 1e5), ("gradient", 1e12),
    ]  # fmt: skip
    modules = (QUERY, "bert.encoder.layer.0.attention.self.value")
    for (module, settings), step in itertools.product(
        itertools.product(modules, trainings), (8, 5, 11)
    ):
        for where, factor in kinds:
            yield Fault(where=where, factor=factor, step=step, module=module), settings  # type: ignore[arg-type]


def _try(fault: Fault, settings: dict[str, Any], given: Given, out: Path) -> Iterator[str]:
    """Train, and yield what was not as promised."""
    stage = trainer(num_train_epochs=3, **settings)
    with injected(fault) as seen:
        try:
            stage.run(given, out)
        except CheckError as error:
            said = str(error)
        else:
            yield "it trained to the end"
            return
    if f"at step {fault.step}," not in said or seen.optimizer_steps != fault.step - 1:
        yield f"it did not stop at its step: {said}"
    after = _trained(cast("torch.nn.Module", seen.model))
    if seen.before is None or any(not torch.equal(after[n], v) for n, v in seen.before.items()):
        yield "the step changed a weight"
    if math.isfinite(fault.factor):
        expected = " x t"  # so many times that of the first step, the longest before
    elif fault.where == "loss":
        expected = "first not finite: the loss itself"
    else:
        expected = f"first not finite: the {fault.where} of {fault.module};"
    if expected not in said:
        yield f"it does not say {expected!r}: {said}"
    if (out / "adapter").exists():
        yield "it handed an adapter on"
    newest = max(
        (out / "checkpoints").glob("checkpoint-*"),
        key=lambda each: int(each.name.removeprefix("checkpoint-")),
        default=None,
    )
    named = re.search(r"last good: (\S+)", said)
    if (newest and newest.name) != (named and named[1]):
        yield f"the newest checkpoint is {newest}: {said}"
    for file in (out / "checkpoints").rglob("adapter_model.safetensors"):
        if not all(value.isfinite().all() for value in load_file(file).values()):
            yield f"{file.parent.name} is not finite"


def _trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {n: v.detach().clone() for n, v in model.named_parameters() if v.requires_grad}
