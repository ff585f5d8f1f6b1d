"""What tasks with one answer for a text, or for a pair of texts, share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.text import TextTask, check_texts, texts_of

if TYPE_CHECKING:
    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks.wanted import Wanted

__all__ = ["SequenceTask"]


class SequenceTask(TextTask):
    """A new head on the whole text; what its outputs mean is left to a subclass."""

    auto_class = "AutoModelForSequenceClassification"
    peft_task_type: str | None = "SEQ_CLS"
    labelled = True

    def check(self, raw: Raw, wanted: Wanted) -> None:
        for key, column in wanted.inputs.items():
            check_texts(raw, key, column)

    def encode(
        self,
        raw: Raw,
        rows: Sequence[int],
        targets: Sequence[Any],
        wanted: Wanted,
        base: BaseModel,
    ) -> dict[str, list[Any]]:
        encoded = dict(
            base.load_tokenizer()(
                *texts_of(raw, rows, wanted),
                truncation=True,
                max_length=self.limit(wanted, base),
            )
        )
        return {
            **encoded,
            "labels": [targets[row] for row in rows],
            "length": [len(ids) for ids in encoded["input_ids"]],
        }
