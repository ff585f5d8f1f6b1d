"""The tokenizer of a model: there, whole, and with no word that the model has no room for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

__all__ = ["check_room", "load_tokenizer"]


def load_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a folder.

    Raises:
        StageError: There is none, it is damaged, or would need code of its author.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # of each kind of damage another, from three libraries
        said = str(error).strip().splitlines() or [""]
        raise StageError(
            f"model: no tokenizer in {source}: {type(error).__name__}: {said[0]}"
        ) from error
    names = sorted({*getattr(tokenizer, "vocab_files_names", {}).values()})
    if names and not any((source / name).is_file() for name in names):
        # transformers would make one whose only words are [UNK] and the like.
        raise StageError(
            f"model: no tokenizer in {source}: none of {', '.join(names)} is there; get it again"
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise StageError(
            f"model: the tokenizer in {source} has no words, but {', '.join(names)} should have "
            "some; get it again"
        )
    return tokenizer


def check_room(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, where: str) -> None:
    """Refuse a tokenizer with words that have no row in the model's embedding.

    Raises:
        StageError: The message starts with `where` and has both numbers.
    """
    room = getattr(config.get_text_config(), "vocab_size", None)
    most = max(tokenizer.get_vocab().values(), default=-1) + 1
    if isinstance(room, int) and most > room:
        raise StageError(
            f"{where}: the tokenizer numbers its words up to {most - 1}, but the model has room "
            f"for {room} (vocab_size); the two are not of the same model"
        )
