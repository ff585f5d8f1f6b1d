"""Which modules a setting means: ends of names, a pattern for whole names, or a preset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["PRESETS", "any_ends", "check_pattern", "matching"]

_AFTER_ATTENTION = (
    r".*[aA]ttention\.output\.dense",  # BERT, RoBERTa, DeBERTa, ViT
    r".*\.attention\.(dense|out_lin|o_proj|out_proj)",  # ALBERT, DistilBERT, ViT
    r".*\.(self_attn|attn)\.(c_proj|o_proj|out_proj|dense|Wo)",  # GPT-2, Llama, BART, ModernBERT
    r".*\.(SelfAttention|EncDecAttention)\.o",  # T5
)
_AFTER_FEED_FORWARD = (
    r".*\.\d+\.output\.dense",  # BERT, RoBERTa, DeBERTa, ViT
    r".*\.ffn_output",  # ALBERT
    r".*\.ffn\.lin2",  # DistilBERT
    r".*\.mlp\.(c_proj|down_proj|dense_4h_to_h|fc2|Wo)",  # GPT-2, Llama, NeoX, ViT, ModernBERT
    r".*\.layers\.\d+\.fc2",  # BART
    r".*\.Dense\w*Dense\.wo",  # T5
)
PRESETS = {
    "houlsby": (*_AFTER_ATTENTION, *_AFTER_FEED_FORWARD),
    "pfeiffer": _AFTER_FEED_FORWARD,
}
"""Patterns for the layers whose output goes back to the width of the model: of the attention and
of the feed-forward part of each block, or of the latter alone."""


def matching(
    names: Iterable[str],
    wanted: Sequence[str] | str,
    unwanted: Sequence[str] | str | None = None,
) -> list[str]:
    """Return which of the names of modules are meant, in their order.

    Args:
        names: Whole names.
        wanted: Ends of names; or one pattern for whole names; or a preset.
        unwanted: The same, of those to leave out.
    """
    return [
        name for name in names if _means(wanted, name) and not (unwanted and _means(unwanted, name))
    ]


def _means(wanted: Sequence[str] | str, name: str) -> bool:
    if isinstance(wanted, str):
        return any(re.fullmatch(each, name) for each in PRESETS.get(wanted, (wanted,)))
    return any_ends(wanted, name)


def any_ends(wanted: Iterable[str], name: str) -> bool:
    """Tell whether a name is, or ends with, one of those wanted: whole parts of it."""
    return any(f".{name}".endswith(f".{each}") for each in wanted)


def check_pattern(key: str, pattern: str) -> None:
    """Refuse what is neither a preset nor a regular expression.

    Raises:
        ValueError: Names the setting.
    """
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{key}: {pattern!r} is not a regular expression: {error}") from error
