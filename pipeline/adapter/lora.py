"""LoRA and what starts or scales like it, with PEFT's own field names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline.adapter.peft_stage import PeftStage

__all__ = ["Lora"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora(PeftStage):
    """Low-rank adapters: each target computes `W x + (lora_alpha / r) * B A x`.

    Source: Hu et al. 2021, "LoRA", section 4.1, https://arxiv.org/abs/2106.09685.
    """

    config: ClassVar[str] = "LoraConfig"
    r: int
    """Rows of A and columns of B: A is (r, in_features), B is (out_features, r)."""
    lora_alpha: float
    """Scale of the update, without unit; divided by r, or by sqrt(r) with `use_rslora`."""
    lora_dropout: float
    """Probability that an input of A is zeroed while training, 0 up to 1."""
    target_modules: tuple[str, ...] | str
    """A preset, such as `query_value`; ends of module names, such as `query`; or one regular
    expression for whole names."""
    exclude_modules: tuple[str, ...] | str | None
    modules_to_save: tuple[str, ...] | None
    """Further modules to train in full; the head of the task always is."""
    bias: Literal["none", "all", "lora_only"]
    use_rslora: bool
    use_dora: bool
    init_lora_weights: bool | Literal["gaussian", "orthogonal", "pissa", "olora", "mica", "loftq"]
    """True: B is zero, so training starts from the base model."""
    layers_to_transform: tuple[int, ...] | None
    """Numbers of the blocks to adapt; None is all."""
    rank_pattern: Mapping[str, int]
    """Another r for the modules whose names match, such as `layer.0.attention.self.query: 16`."""
    alpha_pattern: Mapping[str, float]
    trainable_token_indices: tuple[int, ...] | None
    """Tokens whose embeddings train as well."""
    lora_bias: bool
    """Whether B has a bias."""
    loftq_config: Mapping[str, int]
    """`loftq_bits` and `loftq_iter`; empty unless `init_lora_weights` is `loftq`."""
