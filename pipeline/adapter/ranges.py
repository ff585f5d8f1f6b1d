"""What the settings of adapters may be, by their names, which mean the same in every kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["RULES", "problems"]

Rule = tuple[Callable[[Any], bool], str]

_ONE: Rule = (lambda value: value >= 1, "a whole number of at least 1")
_ZERO: Rule = (lambda value: value >= 0, "a whole number of at least 0")
_SEED: Rule = (lambda value: 0 <= value < 2**32, "a whole number from 0 to 4294967295")
_POSITIVE: Rule = (lambda value: math.isfinite(value) and value > 0, "a finite number above 0")
_WEIGHT: Rule = (lambda value: math.isfinite(value) and value >= 0, "a finite number, 0 or more")
_NUMBER: Rule = (math.isfinite, "a finite number")
_DROPOUT: Rule = (lambda value: 0 <= value < 1, "in [0, 1)")
_SHARE: Rule = (lambda value: 0 < value <= 1, "above 0 and at most 1")
_FRACTION: Rule = (lambda value: 0 <= value <= 1, "from 0 to 1")
_EVEN: Rule = (lambda value: value >= 2 and value % 2 == 0, "an even number of at least 2")
_FACTOR: Rule = (lambda value: value >= 1 or value == -1, "at least 1, or -1 to choose it")


def _named(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: Mapping[str, Rule] = {
    **_named(
        _ONE,
        "adapter_layers adapter_len asa_target_subspaces block_size boft_n_butterfly_factor deltaT "
        "encoder_hidden_size encoder_num_layers gralora_k init_r mask_interval mini_r n_frequency "
        "n_skills n_splits n_tasks num_B num_cayley_neumann_terms num_ranks num_subspaces "
        "num_tasks num_vectors num_virtual_tokens psoft_svd_lowrank_niter r shadow_hidden_size "
        "shadow_intermediate_size shadow_num_attention_heads shadow_num_hidden_layers stride_A "
        "subspace_rank target_r theta_d_length topk u update_hidden_size vector_length",
    ),
    **_named(
        _ZERO,
        "boft_block_num boft_block_size depth final_warmup hybrid_r init_warmup num_frozen_tokens "
        "oft_block_size tfinal tinit",
    ),
    **_named(
        _SEED,
        "generator_seed proj_seed projection_prng_key projection_seed random_loc_seed random_seed "
        "seed",
    ),
    **_named(
        _POSITIVE,
        "alpha asa_schedule_exponent cayley_neumann_eps d_initial delora_lambda effective_rank eps "
        "init_logits_std init_scale init_theta_d_bound init_v_bound init_vector_bank_bound "
        "lora_alpha opt_loss_decay_factor opt_projection_epsilon opt_projection_format_epsilon "
        "psoft_alpha randlora_alpha scaling shadow_alpha",
    ),
    **_named(_WEIGHT, "auxiliary_loss_weight orth_reg_weight regularization_alpha"),
    **_named(
        _DROPOUT,
        "asa_importance_beta asa_uncertainty_beta beta1 beta2 boft_dropout deft_dropout "
        "encoder_dropout frod_dropout gralora_dropout hira_dropout lora_dropout miss_dropout "
        "module_dropout psoft_dropout pvera_dropout randlora_dropout rank_dropout shadow_dropout "
        "sparsity tinylora_dropout unilora_dropout vblora_dropout vera_dropout",
    ),
    **_named(_SHARE, "sparse_rate"),
    **_named(_FRACTION, "svd_threshold weight_tying"),
    **_named(_EVEN, "group_size"),
    **_named(_FACTOR, "decompose_factor"),
}
"""The rule for each setting that is a number, and what to say when it is broken."""

_ZERO_IS_NONE = {("OFTConfig", "r"): _ZERO}
"""OFT takes either the number of blocks or their size; the other is 0."""
_OF_PATTERNS: Mapping[str, Rule] = {
    "alpha_pattern": _POSITIVE, "block_size_pattern": _ONE, "lambda_pattern": _POSITIVE,
    "n_frequency_pattern": _ONE, "rank_pattern": _ONE, "target_svd_config": _ONE,
    "loftq_config": _ONE,
}  # fmt: skip
_PATTERNS = ("target_modules", "exclude_modules", "feedforward_modules")
_INDICES = {
    "layers_to_transform": ("name blocks, or null for all", "counts the blocks from 0"),
    "token_indices": ("name tokens by their numbers", "counts the tokens from 0"),
    "trainable_token_indices": ("name tokens, or null for none", "counts the tokens from 0"),
    "cpt_token_ids": ("name tokens by their numbers", "counts the tokens from 0"),
}


def problems(config: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each value that is out of its range; each begins with its key.

    Args:
        config: Name of PEFT's config, which a few rules depend on.
        values: By PEFT's name; of the right types.
    """
    for key, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            rule = _ZERO_IS_NONE.get((config, key)) or RULES.get(key, _NUMBER)
            yield from _broken(key, value, rule)
        elif key in _INDICES and value is not None:
            yield from _indices(key, value, *_INDICES[key])
        elif key in _OF_PATTERNS and value is not None:
            for pattern, number in value.items():
                yield from _pattern(key, pattern)
                yield from _broken(f"{key}.{pattern}", number, _OF_PATTERNS[key])
        elif key in _PATTERNS and value is not None:
            yield from _targets(key, value)


def _broken(key: str, value: float, rule: Rule) -> Iterator[str]:
    holds, told = rule
    if not holds(value):
        yield f"{key} must be {told}, got {value}"


def _indices(key: str, value: tuple[int, ...], empty: str, negative: str) -> Iterator[str]:
    if not value:
        yield f"{key} is empty; {empty}"
    elif (first := min(value)) < 0:
        yield f"{key} {negative}, got {first}"


def _targets(key: str, value: tuple[str, ...] | str) -> Iterator[str]:
    if isinstance(value, str):
        yield from _pattern(key, value)
    if not value and key == "target_modules":
        yield f"{key} is empty; name the modules to adapt"


def _pattern(key: str, pattern: str) -> Iterator[str]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"{key}: {pattern!r} is not a regular expression: {error}"
