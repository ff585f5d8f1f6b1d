"""How many tokens of a text a model can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["most_tokens"]

_UNLIMITED = 10**9
_FIRST_IS_AFTER_PADDING = ("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "data2vec-text",
                           "longformer", "mpnet", "ibert", "roberta-prelayernorm", "xmod", "esm",
                           "luke", "mluke")  # fmt: skip
"""Types of models that number the tokens of a text from the padding's number plus one."""


def most_tokens(asked: int | None, tokenizer: PreTrainedTokenizerBase, folder: Path) -> int:
    """Return the tokens at which texts are cut.

    Args:
        asked: What the user wants; None takes the model's limit.
        tokenizer: It may know a limit.
        folder: With the model's `config.json`, which may know a lower one.

    Raises:
        StageError: More is asked for than the model can read; the message has the limit.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    limit = int(tokenizer.model_max_length)
    # A model of more than texts keeps what it says of texts apart.
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and int(positions) > 0:
        lost = 0
        if config.model_type in _FIRST_IS_AFTER_PADDING:
            lost = (config.pad_token_id or 0) + 1
        limit = min(limit, int(positions) - lost)
    if asked is None:
        return min(limit, _UNLIMITED)
    if asked > limit:
        raise StageError(f"data.max_length: {asked} is above the model's limit of {limit} tokens")
    return asked
