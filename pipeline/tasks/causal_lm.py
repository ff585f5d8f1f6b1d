"""The next word of a text, after all that came before it."""

from __future__ import annotations

from pipeline.tasks.text import TextTask

__all__ = ["TASK", "CausalLm"]


class CausalLm(TextTask):
    """A language model with the head it was pretrained with: to adapt and to draw."""

    auto_class = "AutoModelForCausalLM"
    peft_task_type: str | None = "CAUSAL_LM"
    labelled = False


TASK = CausalLm()
