"""QLoRA: LoRA on a base model that is kept in four bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.adapter.lora import Lora
from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.errors import StageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["QLora"]

_BLOCK = 64
"""Weights that share a scale, as bitsandbytes has it unless it is told otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QLora(Lora):
    """Rounds the linear layers of the body to four bits; LoRA trains on top of them.

    Whoever loads the model to train it gets the four bits; to answer, and to export, the rounded
    values are written out again, so that both compute the same.

    Source: Dettmers et al. 2023, "QLoRA", https://arxiv.org/abs/2305.14314.
    """

    ours: ClassVar[tuple[str, ...]] = (
        "seed", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype",
    )  # fmt: skip
    bnb_4bit_quant_type: Literal["nf4", "fp4"]
    bnb_4bit_use_double_quant: bool
    """Round the scales of the rounding as well: 0.37 bits less a weight."""
    bnb_4bit_compute_dtype: Literal["float32", "bfloat16", "float16"]
    """Of the products, for which the weights are written out block by block."""

    def run(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Insert LoRA into the rounded model, and save it as it starts with its placement.

        Raises:
            StageError: As LoRA does.
            MachineError: The package bitsandbytes is missing.
        """
        from pipeline.adapter.head import head_of
        from pipeline.adapter.machine import check_rounds
        from pipeline.tasks import task_named

        check_rounds()
        base, examples = given
        labelled = task_named(base.task).labelled
        shape = base.architecture(examples.labels)
        head = head_of(shape, examples.labels) if labelled else ("lm_head",)
        _check_blocks(shape, head)
        rounded = replace(
            base,
            quantization={
                "bnb_4bit_quant_type": self.bnb_4bit_quant_type,
                "bnb_4bit_use_double_quant": self.bnb_4bit_use_double_quant,
                "bnb_4bit_compute_dtype": self.bnb_4bit_compute_dtype,
                "llm_int8_skip_modules": list(head),
            },
        )
        return Lora.run(self, (rounded, examples), folder)


def _check_blocks(model: PreTrainedModel, head: Sequence[str]) -> None:
    """Refuse a layer whose rows do not divide into the blocks that are rounded together.

    Raises:
        StageError: Names it and its width.
    """
    from torch import nn

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module.in_features % _BLOCK and name not in head:
            raise StageError(
                f"adapter: four bits are rounded {_BLOCK} at a time, and {name} is "
                f"{module.in_features} wide; choose adapter=lora, or another model"
            )
