"""What comes before an adapter of any kind is put into a model, and what comes after."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.adapter.head import head_of
from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.tasks import Task, task_named
from pipeline.tasks.head import check_head_trains, saved_head

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from pipeline.placement import Placement

__all__ = ["Start", "finish", "opened"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A base model about to get an adapter."""

    base: BaseModel
    examples: Examples
    task: Task
    model: PreTrainedModel
    """On the meta device if the base has no weights."""
    before: Mapping[str, str]
    """Names and class names of its modules."""
    head: tuple[str, ...]
    """Names of the modules that make up its head, if that is new and must train."""

    @property
    def on_meta(self) -> bool:
        """Whether nothing here has values."""
        return not self.base.weights


def opened(given: tuple[BaseModel, Examples], seed: int) -> Start:
    """Load the base model with a head for the labels, and say what becomes of a saved head.

    Args:
        given: What the stage was given.
        seed: Of what starts at random: a new head, and whatever is drawn next.
    """
    import torch

    base, examples = given
    task = task_named(base.task)
    torch.manual_seed(seed)
    model = base.load(examples.labels)
    if task.labelled and base.weights:
        files = [weight.path for weight in base.weights]
        if told := saved_head(model, files, base.labels, examples.labels):
            log.info("    %s", told)
    return Start(
        base=base,
        examples=examples,
        task=task,
        model=model,
        before={name: type(module).__name__ for name, module in model.named_modules()},
        head=head_of(model, examples.labels) if task.labelled else (),
    )


def finish(start: Start, adapted: PeftModel, placement: Placement, folder: Path) -> AdaptedModel:
    """Check the head, save the adapter as it starts with its placement, and show that.

    Raises:
        StageError: A part of the head would stay frozen.
    """
    from pipeline.adapter.placement import show

    if start.task.labelled:
        check_head_trains(adapted)
    start.base.save_adapter(adapted, folder)
    placement.save(folder / "placement.json")
    show(placement)
    return AdaptedModel(
        base=start.base,
        labels=start.examples.labels,
        folder=folder,
        trainable=placement.trainable,
        total=placement.trainable + placement.frozen,
    )
