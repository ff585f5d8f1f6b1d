"""The next word of a text, after all that came before it.

Three kinds of rows, told apart by what the columns hold: texts, of which every token is learned;
prompts with completions, of which the completion is; and conversations, of which the assistant's
turns are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pipeline.errors import StageError
from pipeline.tasks.chat import check_conversations, check_template, conversation
from pipeline.tasks.completions import completed
from pipeline.tasks.labels import as_word
from pipeline.tasks.shown import Part, Shown
from pipeline.tasks.text import TextTask, check_texts
from pipeline.tasks.tokens import (
    IGNORED,
    batch_of,
    check_written,
    judged_tokens,
    refuse_pair,
    tell_cut,
    token_loss,
    token_metrics,
    with_target,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedTokenizerBase

    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks import Collate
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "CausalLm"]


class CausalLm(TextTask):
    """A language model with the head it was pretrained with: cross-entropy of the next token."""

    auto_class = "AutoModelForCausalLM"
    peft_task_type: str | None = "CAUSAL_LM"
    labelled = False
    best_metric = "perplexity"
    greater_is_better = False

    def check_settings(self, wanted: Wanted, base: BaseModel) -> None:
        refuse_pair(wanted, "causal_lm")
        self.limit(wanted, base)

    def check(self, raw: Raw, wanted: Wanted) -> None:
        column = wanted.inputs["text_column"]
        if _are_conversations(raw, wanted):
            check_conversations(raw, column)
            if wanted.label is not None:
                raise StageError(
                    f"data.label_column: the conversations of {column!r} hold their answers; use "
                    "data.label_column=null"
                )
            return
        check_texts(raw, "text_column", column)
        if wanted.label is not None:
            check_written(raw, wanted.label)

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        return ()

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        """Return the completions; None for each row that is all there is to learn."""
        if wanted.label is None:
            return [None] * len(raw)
        return [as_word(value) for value in raw.column(wanted.label)]

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        return None

    def encode(
        self,
        raw: Raw,
        rows: Sequence[int],
        targets: Sequence[Any],
        wanted: Wanted,
        base: BaseModel,
    ) -> dict[str, list[Any]]:
        """Return `input_ids`, `labels` of the learned tokens, `length`, and `items`: how many."""
        tokenizer = base.load_tokenizer()
        limit = self.limit(wanted, base)
        if _are_conversations(raw, wanted):
            check_template(tokenizer, wanted.inputs["text_column"])
            made = _conversations(raw, rows, wanted, tokenizer)
        else:
            made = completed(raw, rows, targets, wanted, tokenizer)
        table: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": [], "items": [],
                                       "cut": []}  # fmt: skip
        for row, (ids, labels) in zip(rows, made, strict=True):
            # Nothing comes before the first token, so nothing can foretell it.
            kept = [IGNORED, *labels[1:limit]]
            items = sum(label != IGNORED for label in kept)
            if items == 0:
                raise StageError(_nothing(raw, row, len(ids), limit))
            table["input_ids"].append(ids[:limit])
            table["labels"].append(kept)
            table["length"].append(len(kept))
            table["items"].append(items)
            table["cut"].append(len(ids) > limit)
        tell_cut(raw, sum(table["cut"]), len(rows), limit)
        return table

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        if not _are_conversations(raw, wanted):
            return with_target(super().shown(raw, row, target, wanted, names), target, wanted)
        column = wanted.inputs["text_column"]
        said: Any = raw.column(column)[row]
        turns = [(turn["role"], turn["content"]) for turn in said]
        return Shown(parts=(Part(name=column, turns=turns),), label=None)

    def collate(self, base: BaseModel) -> Collate:
        """Pad on the right; the mask, not the number of a token, says what is padding."""
        padding = int(base.load_tokenizer().pad_token_id)

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            return batch_of(examples, padding)

        return collate

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        return token_loss(logits[:, :-1], labels[:, 1:], items)

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        return judged_tokens(logits[:, :-1], labels[:, 1:])

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        return token_metrics(judged)


def _are_conversations(raw: Raw, wanted: Wanted) -> bool:
    values = raw.column(wanted.inputs["text_column"])
    return isinstance(next((value for value in values if value is not None), None), list)


def _conversations(
    raw: Raw, rows: Sequence[int], wanted: Wanted, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[list[int], list[int]]]:
    column = wanted.inputs["text_column"]
    for row in rows:
        turns: Any = raw.column(column)[row]
        try:
            yield conversation(turns, tokenizer)
        except ValueError as error:
            raise StageError(
                f"{raw.where(row)}: {column!r}: the chat template of the model's tokenizer cannot "
                f"write this conversation: {error}; give prompts and completions as two columns of "
                "text, or choose another model"
            ) from error


def _nothing(raw: Raw, row: int, tokens: int, limit: int) -> str:
    if tokens > limit:
        return (
            f"{raw.where(row)}: of its {tokens} tokens the first {limit} have nothing that is to "
            f"be learned; set data.max_length above {limit}, or leave out such rows"
        )
    return f"{raw.where(row)}: has no token to be learned; leave out such rows"


TASK = CausalLm()
