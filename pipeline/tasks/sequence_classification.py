"""One label for a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional
from transformers import DataCollatorWithPadding

from pipeline.tasks.text import example, token_axes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pipeline.tasks import Collate

__all__ = ["TASK", "SequenceClassification"]


class SequenceClassification:
    """Cross-entropy over the labels; accuracy and macro F1."""

    auto_class = "AutoModelForSequenceClassification"
    peft_task_type = "SEQ_CLS"
    labelled = True
    best_metric = "macro_f1"

    def example(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
        return example(tokenizer)

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        return token_axes(inputs)

    def tokenize(
        self, texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, list[list[int]]]:
        columns = [list(column) for column in zip(*texts, strict=True)]
        encoded = tokenizer(*columns, truncation=True, max_length=max_length)
        return dict(encoded)

    def collate(self, tokenizer: PreTrainedTokenizerBase) -> Collate:
        pad = DataCollatorWithPadding(tokenizer)

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            return dict(pad([{k: v for k, v in row.items() if k != "length"} for row in examples]))

        return collate

    def loss(self, logits: Tensor, labels: Tensor, rows: Tensor | int) -> Tensor:
        return functional.cross_entropy(logits.float(), labels, reduction="sum") / rows

    def metrics(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score  # slow to import, and only used here

        chosen = np.argmax(logits, axis=-1)
        return {
            "accuracy": float(accuracy_score(labels, chosen)),
            "macro_f1": float(f1_score(labels, chosen, average="macro", zero_division=0.0)),
        }


TASK = SequenceClassification()
