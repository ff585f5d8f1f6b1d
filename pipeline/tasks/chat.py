"""Conversations become tokens as the model's own template writes them; its turns are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError
from pipeline.tasks.completions import end_of
from pipeline.tasks.text import check_characters, refuse_empty
from pipeline.tasks.tokens import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from pipeline.rows import Raw

__all__ = ["check_conversations", "check_template", "conversation"]

Turn = Mapping[str, str]

_LEARNED = "assistant"
_ANYTHING = "ANSWER8F2C"
"""Stands for an answer, to see what a template writes around one."""


def check_conversations(raw: Raw, column: str) -> None:
    """Refuse what is no conversation, and one in which nobody answers.

    Raises:
        StageError: Has the place of the first.
    """
    refuse_empty(raw, column)
    for row, turns in enumerate(raw.column(column)):
        where = f"{raw.where(row)}: {column!r}"
        if not isinstance(turns, list):
            raise StageError(
                f"{where} holds {type(turns).__name__}, earlier rows hold conversations; write all "
                "of them the same way"
            )
        for number, turn in enumerate(turns, start=1):
            if not isinstance(turn, Mapping):
                raise StageError(f"{where}: turn {number} is no object with role and content")
            for key in ("role", "content"):
                if not isinstance(turn.get(key), str):
                    raise StageError(
                        f"{where}: turn {number} has {turn.get(key)!r} as its {key}; expected text"
                    )
            check_characters(raw, row, column, turn["content"])
        if not any(turn["role"] == _LEARNED and turn["content"].strip() for turn in turns):
            raise StageError(
                f"{where} has no turn of the role {_LEARNED!r} with any content: nothing would be "
                "learned from it; leave out such rows"
            )


def check_template(tokenizer: PreTrainedTokenizerBase, column: str) -> None:
    """Refuse a tokenizer that cannot write a conversation.

    Raises:
        StageError: Says what to do.
    """
    if not tokenizer.chat_template:
        raise StageError(
            f"data.text_column: {column!r} holds conversations, and the tokenizer of the model has "
            "no chat template to write them with; choose a model that was trained on them (an "
            "'instruct' or 'chat' one), put a chat_template.jinja beside its tokenizer, or give "
            "prompts and completions as two columns of text"
        )
    if not tokenizer.is_fast:
        raise StageError(
            f"data.text_column: {column!r} holds conversations, and the tokenizer of the model "
            "cannot tell which letters a token stands for (it has no tokenizer.json); give prompts "
            "and completions as two columns of text"
        )


def conversation(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    """Return the tokens of a conversation, and as labels those that the assistant wrote.

    What ends its turn is learned: the template's mark, or the end of text where it has none.

    Raises:
        ValueError: The template does not write this conversation so that its turns can be told
            apart; the message says why.
    """
    whole = _written(turns, tokenizer)
    spans, closed = [], True
    for number, turn in enumerate(turns):
        if turn["role"] == _LEARNED:
            *span, closed = _span(whole, turns, number, tokenizer)
            spans.append(span)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids = [int(token) for token in encoded["input_ids"]]
    labels = [
        token if any(_within(place, span) for span in spans) else IGNORED
        for token, place in zip(ids, encoded["offset_mapping"], strict=True)
    ]
    if not closed and turns[-1]["role"] == _LEARNED:
        end = end_of(tokenizer)
        return ids + end, labels + end
    return ids, labels


def _span(
    whole: str, turns: Sequence[Turn], number: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, int, bool]:
    """Return where an answer begins and ends, its mark included, and whether there is a mark."""
    before = _written(turns[:number], tokenizer, ask=True)
    if not whole.startswith(before):
        raise ValueError(f"what comes before turn {number + 1} is written otherwise without it")
    example = _written([*turns[:number], {**turns[number], "content": _ANYTHING}], tokenizer)
    lead, found, mark = example[len(before) :].partition(_ANYTHING)
    mark = mark.rstrip()
    if not (found and example.startswith(before)):
        raise ValueError(f"turn {number + 1} is not written as it stands")
    # Some templates write no thoughts before any but the last answer, or no spaces at its ends.
    content = turns[number]["content"]
    for text in (lead + content, content, lead + content.strip(), content.strip()):
        end = len(before) + len(text)
        if whole.startswith(text, len(before)) and whole.startswith(mark, end):
            return len(before), end + len(mark), bool(mark)
    raise ValueError(f"turn {number + 1} is not written as it stands")


def _within(place: tuple[int, int], span: Sequence[int]) -> bool:
    """Whether a token stands in a span; one of white space may be said to have no letters."""
    start, end = place
    if start == end:
        return span[0] < start <= span[1]
    return span[0] <= start < span[1]


def _written(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, ask: bool = False
) -> str:
    """Return a conversation as text; with what asks for the next answer, if wanted."""
    try:
        text: Any = tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=ask
        )
    except Exception as error:  # a template is a program of the model's author
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    return str(text)
