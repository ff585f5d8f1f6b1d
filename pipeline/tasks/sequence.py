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
        tokenizer, limit = base.load_tokenizer(), self.limit(wanted, base)
        texts = texts_of(raw, rows, wanted)
        encoded = dict(tokenizer(*texts, truncation=True, max_length=limit))
        lengths = [len(ids) for ids in encoded["input_ids"]]
        # Few are as long as that, and some of those are whole.
        long = [at for at, length in enumerate(lengths) if length >= limit]
        cut = [False] * len(lengths)
        if long:
            whole = tokenizer(*([each[at] for at in long] for each in texts), verbose=False)
            for at, ids in zip(long, whole["input_ids"], strict=True):
                cut[at] = len(ids) > limit
        return {
            **encoded,
            "labels": [targets[row] for row in rows],
            "length": lengths,
            "cut": cut,
        }
