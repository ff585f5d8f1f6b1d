"""LoRA, with PEFT's own field names."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.errors import StageError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from pipeline.tasks import Task

__all__ = ["Lora"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """Low-rank adapters: each target computes `W x + (lora_alpha / r) * B A x`.

    Source: Hu et al. 2021, "LoRA", section 4.1, https://arxiv.org/abs/2106.09685.
    """

    r: int
    """Rows of A and columns of B: A is (r, in_features), B is (out_features, r)."""
    lora_alpha: float
    """Scale of the update, without unit; divided by r, or by sqrt(r) with `use_rslora`."""
    lora_dropout: float
    """Probability that an input of A is zeroed while training, 0 up to 1."""
    target_modules: tuple[str, ...] | str
    """Ends of module names, such as `query`; or one regular expression for whole names; or
    `all-linear`."""
    exclude_modules: tuple[str, ...] | str | None
    modules_to_save: tuple[str, ...] | None
    """Further modules to train in full; the head of the task always is."""
    bias: Literal["none", "all", "lora_only"]
    use_rslora: bool
    use_dora: bool
    init_lora_weights: bool | Literal["gaussian", "orthogonal"]
    """True: B is zero, so training starts from the base model."""
    layers_to_transform: tuple[int, ...] | None
    """Numbers of the blocks to adapt; None is all."""
    rank_pattern: Mapping[str, int]
    """Another r for the modules whose names match, such as `layer.0.attention.self.query: 16`."""
    alpha_pattern: Mapping[str, float]
    seed: int

    def __post_init__(self) -> None:
        _check_rank("r", self.r)
        _check_scale("lora_alpha", self.lora_alpha)
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be in [0, 1), got {self.lora_dropout}")
        if not self.target_modules:
            raise ValueError("target_modules is empty; name the modules to adapt")
        if self.layers_to_transform is not None:
            if not self.layers_to_transform:
                raise ValueError("layers_to_transform is empty; name blocks, or null for all")
            if (first := min(self.layers_to_transform)) < 0:
                raise ValueError(f"layers_to_transform counts the blocks from 0, got {first}")
        for key in ("target_modules", "exclude_modules"):
            if isinstance(pattern := getattr(self, key), str):
                _check_pattern(key, pattern)
        for pattern, r in self.rank_pattern.items():
            _check_pattern("rank_pattern", pattern)
            _check_rank(f"rank_pattern.{pattern}", r)
        for pattern, alpha in self.alpha_pattern.items():
            _check_pattern("alpha_pattern", pattern)
            _check_scale(f"alpha_pattern.{pattern}", alpha)
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 4294967295, got {self.seed}")

    def look(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Do what `run` does: of a model without weights it needs none."""
        return self.run(given, folder)

    def run(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Insert the adapters, and save them as they start with their placement.

        Raises:
            StageError: A target matches no module, or one that cannot carry LoRA, or r exceeds a
                layer's width; the message lists what exists. Or the head would stay frozen.
        """
        import torch

        from pipeline.adapter.placement import place, show
        from pipeline.adapter.ranks import check_ranks, check_widths
        from pipeline.adapter.targets import check_adapted, check_names
        from pipeline.tasks import task_named
        from pipeline.tasks.head import check_head_trains, saved_head

        base, examples = given
        task = task_named(base.task)
        torch.manual_seed(self.seed)  # the head and the matrices A start from random values
        model = base.load(examples.labels)
        if task.labelled and base.weights:
            files = [weight.path for weight in base.weights]
            if told := saved_head(model, files, base.labels, examples.labels):
                log.info("    %s", told)
        check_names(model, self.target_modules, self.exclude_modules, self.modules_to_save)
        before = {name: type(module).__name__ for name, module in model.named_modules()}
        check_widths(model, {"r": self.r, **self.rank_pattern})  # before they take memory
        adapted = self._insert(model, task, on_meta=not base.weights)
        if task.labelled:
            check_head_trains(adapted)
        check_ranks(adapted)
        placement = place(adapted, before)
        check_adapted(
            [module.name for module in placement.adapted],
            self.target_modules,
            self.layers_to_transform,
            (*self.rank_pattern, *self.alpha_pattern),
        )
        base.save_adapter(adapted, folder)
        placement.save(folder / "placement.json")
        show(placement)
        return AdaptedModel(
            base=base,
            labels=examples.labels,
            folder=folder,
            trainable=placement.trainable,
            total=placement.trainable + placement.frozen,
        )

    def _insert(self, model: PreTrainedModel, task: Task, *, on_meta: bool) -> PeftModel:
        from peft import LoraConfig, get_peft_model

        from pipeline.adapter.targets import unsupported

        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
            elif isinstance(value, Mapping):
                values[name] = dict(value)
        try:
            settings = LoraConfig(**values, task_type=task.peft_task_type)
            inserted: PeftModel = get_peft_model(model, settings, low_cpu_mem_usage=on_meta)
        except (ValueError, TypeError, NotImplementedError) as error:
            # PEFT refuses layer types it has no LoRA for, and settings that exclude one another.
            if told := unsupported(model, self.target_modules, self.exclude_modules):
                raise StageError(f"adapter.target_modules: {told}") from error
            if str(error).startswith("No modules were targeted"):
                raise StageError(
                    "adapter: nothing is left to adapt: what target_modules names is excluded "
                    "(exclude_modules), trains in full (modules_to_save, and the head always), or "
                    "lies in no block of layers_to_transform"
                ) from error
            raise StageError(f"adapter: {' '.join(str(error).split())}") from error
        return inserted


def _check_rank(key: str, r: int) -> None:
    if r < 1:
        raise ValueError(f"{key} must be a whole number of at least 1, got {r}")


def _check_scale(key: str, alpha: float) -> None:
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"{key} must be a finite number above 0, got {alpha}")


def _check_pattern(key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{key}: {pattern!r} is not a regular expression: {error}") from error
