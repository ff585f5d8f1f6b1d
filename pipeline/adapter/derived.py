"""What PEFT's configs ask for and the base model already knows."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = ["check_room", "derived"]

_CACHED = ("PREFIX_TUNING", "CARTRIDGE")
"""Kinds that add keys and values, not words: their width is that of the body."""


def derived(kind: str, known: Collection[str], model: nn.Module, tokenizer: Path) -> dict[str, Any]:
    """Return the settings of a PEFT config that follow from the model.

    Args:
        kind: PEFT's name of the adapter.
        known: Names of the fields of the config.
        model: Without adapters.
        tokenizer: Folder of the model's own.

    Raises:
        StageError: The adapter adds words to a text, and the model reads none.
    """
    found: dict[str, Any] = {}
    if "fan_in_fan_out" in known:
        found["fan_in_fan_out"] = any(type(m).__name__ == "Conv1D" for m in model.modules())
    if "token_dim" in known:
        found |= _of_words(kind, model)
    if "tokenizer_name_or_path" in known:
        found["tokenizer_name_or_path"] = str(tokenizer)
    return found


def _of_words(kind: str, model: nn.Module) -> dict[str, Any]:
    """Return the sizes of virtual tokens, or of the keys and values that stand for them."""
    width = getattr(_words(model), "embedding_dim", None)
    if width is None:
        raise StageError(
            f"adapter: {kind} adds virtual tokens to a text, and {type(model).__name__} reads "
            "none; choose an adapter of the layers, such as adapter=lora"
        )
    settings = _settings(model)
    return {
        "token_dim": settings.hidden_size if kind in _CACHED else width,
        "num_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.num_attention_heads,
    }


def check_room(model: nn.Module, virtual: int, longest: int) -> None:
    """Refuse virtual tokens that leave too few positions for the text.

    Args:
        model: A model that reads text.
        virtual: How many tokens are added to it.
        longest: Tokens of the longest example; 0 if there is none.

    Raises:
        StageError: Says how many positions there are, and how long the texts may be.
    """
    settings = _settings(model)
    positions = getattr(settings, "max_position_embeddings", None)
    if not isinstance(positions, int):  # T5 counts distances, not positions
        return
    positions -= (getattr(settings, "pad_token_id", None) or 0) + 1 if _is_roberta(model) else 0
    if virtual >= positions:
        raise StageError(
            f"adapter.num_virtual_tokens: {virtual} leave no room for a text; this model has "
            f"{positions} positions"
        )
    if virtual + longest > positions:
        raise StageError(
            f"adapter.num_virtual_tokens: {virtual} and the longest text, of {longest} tokens, are "
            f"more than the {positions} positions of this model; set data.max_length="
            f"{positions - virtual}, or add fewer"
        )


def _is_roberta(model: nn.Module) -> bool:
    """Whether positions are counted from the number of the padding token on."""
    names = ("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "longformer")
    return getattr(_settings(model), "model_type", "") in names


def _words(model: nn.Module) -> nn.Module | None:
    get = getattr(model, "get_input_embeddings", None)
    found: nn.Module | None = get() if callable(get) else None
    return found


def _settings(model: nn.Module) -> Any:
    return model.config.get_text_config()  # type: ignore[operator, union-attr]  # of transformers
