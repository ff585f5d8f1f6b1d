"""One text written from another: a translation, a summary, an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pipeline.errors import StageError
from pipeline.tasks.completions import end_of
from pipeline.tasks.labels import as_word
from pipeline.tasks.text import TextTask, check_texts, needed_label, texts_of
from pipeline.tasks.tokens import (
    batch_of,
    check_written,
    judged_tokens,
    padded,
    refuse_pair,
    tell_cut,
    token_loss,
    token_metrics,
    with_target,
)

if TYPE_CHECKING:
    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks import Collate
    from pipeline.tasks.shown import Shown
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "Seq2Seq"]


class Seq2Seq(TextTask):
    """Cross-entropy of each token of the target, after those before it and the whole source."""

    auto_class = "AutoModelForSeq2SeqLM"
    peft_task_type: str | None = "SEQ_2_SEQ_LM"
    labelled = False
    best_metric = "perplexity"
    greater_is_better = False

    def example(self, base: BaseModel) -> dict[str, Tensor]:
        """Return the batch of two sentences; the decoder reads them as well, but for some ends."""
        encoded = super().example(base)
        start, tokens = decoder_start(base), encoded["input_ids"]
        decoder = shifted(tokens[:, : tokens.shape[1] - 3], start)
        return {**encoded, "decoder_input_ids": decoder}

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        return {
            name: {0: "batch", 1: "written" if name.startswith("decoder_") else "tokens"}
            for name in inputs
        }

    def check_settings(self, wanted: Wanted, base: BaseModel) -> None:
        refuse_pair(wanted, "seq2seq")
        self.limit(wanted, base)
        decoder_start(base)

    def check(self, raw: Raw, wanted: Wanted) -> None:
        check_texts(raw, "text_column", wanted.inputs["text_column"])
        check_written(raw, needed_label(wanted, "seq2seq"))

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        return ()

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        return [as_word(value) for value in raw.column(needed_label(wanted, "seq2seq"))]

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
        """Return the source's `input_ids`, the target's `labels`, `length`, and `items`."""
        tokenizer = base.load_tokenizer()
        limit = self.limit(wanted, base)
        (texts,) = texts_of(raw, rows, wanted)
        sources = tokenizer(texts, verbose=False)["input_ids"]
        written = tokenizer(text_target=[targets[row] for row in rows], verbose=False)["input_ids"]
        end = end_of(tokenizer)
        written = [ids if ids[-1:] == end else [*ids, *end] for ids in written]
        cut = [
            len(source) > limit or len(target) > limit
            for source, target in zip(sources, written, strict=True)
        ]
        tell_cut(raw, sum(cut), len(rows), limit)
        # A source that is cut still ends as the model is used to; a target that is cut has no end.
        short = sources
        if any(cut):
            short = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        labels = [list(ids[:limit]) for ids in written]
        return {
            "input_ids": [list(ids) for ids in short],
            "labels": labels,
            "length": [len(source) + len(ids) for source, ids in zip(short, labels, strict=True)],
            "items": [len(ids) for ids in labels],
            "cut": cut,
        }

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        return with_target(super().shown(raw, row, target, wanted, names), target, wanted)

    def collate(self, base: BaseModel) -> Collate:
        """Pad on the right; the decoder reads the target one token late."""
        padding, start = int(base.load_tokenizer().pad_token_id), decoder_start(base)

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            batch = batch_of(examples, padding)
            written = padded([row["labels"] for row in examples], padding)
            return {**batch, "decoder_input_ids": shifted(written, start)}

        return collate

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        return token_loss(logits, labels, items)

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        return judged_tokens(logits, labels)

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        return token_metrics(judged)


def shifted(tokens: Tensor, start: int) -> Tensor:
    """Return int64 (rows, tokens): `start`, and then all tokens but the last."""
    later = tokens.roll(1, dims=1)
    later[:, 0] = start
    return later


def decoder_start(base: BaseModel) -> int:
    """Return the token that a decoder reads before the first that it writes.

    Raises:
        StageError: The model has no decoder of its own, or does not say.
    """
    config = base.load_config()
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        raise StageError(
            f"model: {base.name}: config.json has no decoder_start_token_id, the token that the "
            "decoder starts with; add it, such as the pad_token_id for a T5"
        )
    return int(start)


TASK = Seq2Seq()
