"""LoRA, with PEFT's own field names."""

from __future__ import annotations

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
        if self.r < 1:
            raise ValueError(f"r must be a whole number of at least 1, got {self.r}")
        if not (math.isfinite(self.lora_alpha) and self.lora_alpha > 0):
            raise ValueError(f"lora_alpha must be a finite number above 0, got {self.lora_alpha}")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout must be in [0, 1), got {self.lora_dropout}")
        if not self.target_modules:
            raise ValueError("target_modules is empty; name the modules to adapt")
        for key in ("target_modules", "exclude_modules"):
            pattern = getattr(self, key)
            if isinstance(pattern, str):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(
                        f"{key}: {pattern!r} is not a regular expression: {error}"
                    ) from error

    def run(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Insert the adapters, and save them as they start with their placement.

        Raises:
            StageError: A target matches no module, or one that cannot carry LoRA, or r exceeds a
                layer's width; the message lists what exists. Or the head would stay frozen.
        """
        import torch

        from pipeline.adapter.placement import place, show
        from pipeline.adapter.targets import check_adapted, check_names
        from pipeline.tasks import task_named
        from pipeline.tasks.head import check_head_trains

        base, examples = given
        task = task_named(base.task)
        torch.manual_seed(self.seed)  # the head and the matrices A start from random values
        model = base.load(examples.labels)
        check_names(model, self.target_modules, self.exclude_modules, self.modules_to_save)
        before = {name: type(module).__name__ for name, module in model.named_modules()}
        adapted = self._insert(model, task, on_meta=not base.weights)
        if task.labelled:
            check_head_trains(adapted)
        self._check_rank(adapted)
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

        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seed"}
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
            elif isinstance(value, Mapping):
                values[name] = dict(value)
        try:
            settings = LoraConfig(**values, task_type=task.peft_task_type)
            inserted: PeftModel = get_peft_model(model, settings, low_cpu_mem_usage=on_meta)
        except ValueError as error:
            # PEFT refuses layer types it has no LoRA for, and settings that exclude one another.
            raise StageError(f"adapter: {' '.join(str(error).split())}") from error
        return inserted

    def _check_rank(self, model: PeftModel) -> None:
        from peft.tuners.lora import LoraLayer

        for name, module in model.get_base_model().named_modules():
            if not isinstance(module, LoraLayer):
                continue
            narrow = min(module.in_features, module.out_features)
            if (r := module.r["default"]) > narrow:
                raise StageError(
                    f"adapter.r: {r} is more than {name} is wide ({module.in_features} to "
                    f"{module.out_features}); at most {narrow} makes sense"
                )
