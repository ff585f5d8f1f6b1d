"""What a run would do, found out without running it: which stages, whether they can, at what cost.

`run_pipeline` itself is walked, with something in place of the record that runs nothing.
"""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.chain import Chain
from pipeline.disk import assert_room
from pipeline.errors import PipelineError
from pipeline.record import why_run
from pipeline.run import run_pipeline
from pipeline.stage import LooksAhead

if TYPE_CHECKING:
    from pipeline.stage import Plan
    from pipeline.store import Store

__all__ = ["FLOAT", "Forecast", "Outlook", "disk_needed", "foresee", "look_ahead", "look_in"]


FLOAT = 4
"""Bytes of a weight: all are float32, also where the forward pass is not."""
_MOST_CHECKPOINTS = 4
_IN_A_CHECKPOINT = 4
"""Copies of what trains: as the training goes on from it, AdamW's two moments, and the adapter."""


@dataclass(frozen=True, slots=True)
class _Unknown:
    """In place of an artifact that only the run will make."""

    stage: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What would become of a stage."""

    stage: str
    reused: bool
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What the looks of the stages have shown; None is what could not be told."""

    examples: Examples | None
    adapted: AdaptedModel | None
    reused: frozenset[str]
    """Stages that need not run."""


def foresee(
    plan: Plan, store: Store, before: Mapping[str, Mapping[str, Any]], *, reuse: bool
) -> list[Forecast]:
    """Return what a run of `plan` would do with each stage, in order.

    Args:
        plan: What would run.
        store: What earlier runs made.
        before: `record.earlier_parts` of the run to compare with.
        reuse: Whether what exists may be used.
    """
    told = _Foreseeing(store, before, reuse=reuse)
    run_pipeline(plan, told)
    return told.forecasts


def look_ahead(plan: Plan, store: Store, *, reuse: bool) -> None:
    """Let each stage that has to run, and can, say in seconds what is wrong.

    No weight is read; nothing is written but to a folder that is thrown away. A run in which
    nothing changed imports no deep-learning library here.

    Raises:
        PipelineError: What the first of them raised; the message has a line each.
        DiskFullError: There is no room for what the stages will write.
    """
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        outlook = look_in(Path(folder), plan, store, reuse=reuse)
    there = next(each for each in (store.root, *store.root.parents) if each.exists())
    assert_room(there, disk_needed(plan, outlook), "what this run writes")


def look_in(folder: Path, plan: Plan, store: Store, *, reuse: bool) -> Outlook:
    """Do what `look_ahead` does; what the stages write stays in `folder`, to be read."""
    with _silence():
        looking = _Looking(store, folder, reuse=reuse)
        run_pipeline(plan, looking)
    if looking.errors:
        first, *others = looking.errors
        if not others:
            raise first
        raise type(first)("\n".join(map(str, looking.errors))) from first
    return looking.outlook()


class _Foreseeing:
    """Takes the place of a record, and only asks the store."""

    def __init__(
        self, store: Store, before: Mapping[str, Mapping[str, Any]], *, reuse: bool
    ) -> None:
        self.forecasts: list[Forecast] = []
        self._chain = Chain(store)
        self._before, self._reuse = before, reuse

    def run(self, name: str, stage: Any, given: Any) -> Any:
        reused = False
        if unknown := _unknown(given):
            why = f"{' and '.join(unknown)} may come out different"
            why = why if name in self._before else "not made before"
        else:
            try:
                parts = self._chain.parts(name, stage, given)
            except PipelineError as error:
                why = str(error)
            else:
                entry = self._chain.stored(name, parts) if self._reuse else None
                reused = entry is not None
                if entry is not None:
                    self._chain.links[name] = self._chain.link(entry, entry.made)
                    why = "nothing changed"
                else:
                    why = why_run(name, parts, self._before, reuse=self._reuse)
        self.forecasts.append(Forecast(stage=name, reused=reused, why=why))
        return self._chain.links[name].made if reused else _Unknown(name)


class _Looking:
    """Takes the place of a record, and lets stages look instead of run."""

    def __init__(self, store: Store, folder: Path, *, reuse: bool) -> None:
        self.errors: list[PipelineError] = []
        self._chain = Chain(store)
        self._folder, self._reuse = folder, reuse
        self._made: dict[str, object] = {}

    def run(self, name: str, stage: Any, given: Any) -> Any:
        if _unknown(given):
            return _Unknown(name)
        try:
            made = self._stored(name, stage, given)
            if made is None and isinstance(stage, LooksAhead):
                mine = self._folder / name
                mine.mkdir()
                made = stage.look(given, mine)
        except PipelineError as error:
            self.errors.append(error)
            made = None
        if made is None:
            return _Unknown(name)
        self._made[name] = made
        return made

    def outlook(self) -> Outlook:
        examples, adapted = self._made.get("data"), self._made.get("adapter")
        return Outlook(
            examples=examples if isinstance(examples, Examples) else None,
            adapted=adapted if isinstance(adapted, AdaptedModel) else None,
            reused=frozenset(self._chain.links),
        )

    def _stored(self, name: str, stage: Any, given: Any) -> Any:
        """Return what the store has, of a model the architecture alone."""
        every = given if isinstance(given, tuple) else (given,)
        known = [link.made for link in self._chain.links.values()]
        if not self._reuse or any(
            each is not None and not any(each is made for made in known) for each in every
        ):
            return None  # it builds on what was only looked at
        entry = self._chain.stored(name, self._chain.parts(name, stage, given))
        if entry is None:
            return None
        link = self._chain.link(entry, entry.made)
        if isinstance(link.made, BaseModel):
            link = replace(link, made=replace(link.made, weights=()))
        self._chain.links[name] = link
        return link.made


def _unknown(given: Any) -> list[str]:
    every = given if isinstance(given, tuple) else (given,)
    return [each.stage for each in every if isinstance(each, _Unknown)]


@contextmanager
def _silence() -> Iterator[None]:
    """Say nothing of what the stages would say once more when they run."""
    ours = logging.getLogger("pipeline")
    before = ours.level
    ours.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.setLevel(before)


def disk_needed(plan: Plan, outlook: Outlook) -> int:
    """Return an estimate of the bytes that the stages which have to run write; 0 if unknown.

    What trained is kept. While it trains there are checkpoints, which go when it ends; after that
    come the base's weights as ONNX beside the adapter, as ONNX with it merged, as a merged
    transformers model, and for the view, if it takes them. What is needed at once is counted.
    """
    if outlook.adapted is None or not getattr(plan.finetune, "trains", True):
        return 0
    kept = checkpoints = 0
    if "finetune" not in outlook.reused:
        kept = outlook.adapted.trainable * FLOAT
        checkpoints = _held(plan, outlook) * _IN_A_CHECKPOINT * kept
    copies = 3 * ("export" not in outlook.reused)
    if getattr(plan.visualize, "weights", False) and "visualize" not in outlook.reused:
        copies += 1
    return kept + max(checkpoints, copies * outlook.adapted.total * FLOAT)


def _held(plan: Plan, outlook: Outlook) -> int:
    """Return how many checkpoints there are at most: two, the best, and the one being written.

    A short training writes fewer: one before and one after the evaluation of each epoch, and one
    every `save_steps`.
    """
    epochs, batch, every = (
        getattr(plan.finetune, key, None)
        for key in ("num_train_epochs", "train_batch_size", "save_steps")
    )
    if outlook.examples is None or not epochs or not batch or not every:
        return _MOST_CHECKPOINTS
    steps = math.ceil(outlook.examples.train_rows / batch) * math.ceil(epochs)
    between = int(steps // (every if every >= 1 else max(1.0, every * steps)))
    return int(min(_MOST_CHECKPOINTS, 2 * math.ceil(epochs) + between))
