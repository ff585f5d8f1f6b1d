"""The next word of a text, after all that came before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.tasks.text import example, token_axes

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["TASK", "CausalLm"]


class CausalLm:
    """A language model with the head it was pretrained with: to adapt and to draw."""

    auto_class = "AutoModelForCausalLM"
    peft_task_type = "CAUSAL_LM"
    labelled = False

    def example(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
        return example(tokenizer)

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        return token_axes(inputs)


TASK = CausalLm()
