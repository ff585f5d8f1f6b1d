"""A stage for every kind of adapter that PEFT has, with PEFT's own field names.

Written by scripts/adapter_kinds from PEFT 0.21.2: change it there. What a field means is said in
configs/adapter/*.yaml.
"""

# ruff: noqa: N815 - the names are PEFT's
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline.adapter.peft_stage import PeftStage

__all__ = [
    "AdaLora",
    "Adamss",
    "AdaptionPrompt",
    "Beft",
    "Boft",
    "C3a",
    "Cartridge",
    "Cpt",
    "DeLora",
    "Deft",
    "FourierFt",
    "Frod",
    "GLora",
    "GraLora",
    "Hira",
    "Hra",
    "Ia3",
    "Lily",
    "LnTuning",
    "LoHa",
    "LoKr",
    "Miss",
    "MultitaskPromptTuning",
    "Oft",
    "Osf",
    "PTuning",
    "Peanut",
    "Poly",
    "PrefixTuning",
    "PromptTuning",
    "Psoft",
    "Pvera",
    "RandLora",
    "Road",
    "Shadow",
    "Shira",
    "Supertuning",
    "TinyLora",
    "TrainableTokens",
    "UniLora",
    "VbLora",
    "Vera",
    "WaveFt",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaLora(PeftStage):
    """LoRA whose ranks are moved to where they matter most.

    Source: PEFT's `AdaLoraConfig`, https://arxiv.org/abs/2303.10512.
    """

    config: ClassVar[str] = "AdaLoraConfig"
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    lora_alpha: float
    lora_dropout: float
    bias: Literal["none", "all", "lora_only"]
    modules_to_save: tuple[str, ...] | None
    init_lora_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    target_r: int
    init_r: int
    tinit: int
    tfinal: int
    deltaT: int
    beta1: float
    beta2: float
    orth_reg_weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Adamss(PeftStage):
    """Adaptive multi-subspaces of a weight's SVD."""

    config: ClassVar[str] = "AdamssConfig"
    r: int
    num_subspaces: int
    subspace_rank: int
    target_modules: str | tuple[str, ...] | None
    init_weights: Literal["orthogonal"] | None
    modules_to_save: tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    use_asa: bool
    asa_target_subspaces: int
    init_warmup: int
    final_warmup: int
    mask_interval: int
    asa_importance_beta: float
    asa_uncertainty_beta: float
    asa_schedule_exponent: float
    use_dynamic_rank: bool
    svd_threshold: float
    random_seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptionPrompt(PeftStage):
    """LLaMA-Adapter: prompts with a gate in the attention.

    Source: PEFT's `AdaptionPromptConfig`, https://arxiv.org/abs/2303.16199.
    """

    config: ClassVar[str] = "AdaptionPromptConfig"
    target_modules: str | None
    adapter_len: int
    adapter_layers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Beft(PeftStage):
    """Bias terms of the targets, as vectors.

    Source: PEFT's `BeftConfig`, https://arxiv.org/abs/2509.15974.
    """

    config: ClassVar[str] = "BeftConfig"
    target_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Boft(PeftStage):
    """Orthogonal fine-tuning by butterflies.

    Source: PEFT's `BOFTConfig`, https://arxiv.org/abs/2311.06243.
    """

    config: ClassVar[str] = "BOFTConfig"
    boft_block_size: int
    boft_block_num: int
    boft_n_butterfly_factor: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    boft_dropout: float
    bias: Literal["none", "all", "boft_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class C3a(PeftStage):
    """Circular convolution.

    Source: PEFT's `C3AConfig`, https://arxiv.org/abs/2407.19342.
    """

    config: ClassVar[str] = "C3AConfig"
    block_size: int
    target_modules: str | tuple[str, ...] | None
    bias: Literal["none", "all", "c3a_only"]
    modules_to_save: tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    block_size_pattern: Mapping[str, int]
    init_weights: bool | Literal["gaussian", "kaiming_uniform", "xavier_uniform"] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cartridge(PeftStage):
    """Keys and values that are trained, as a prefix of the cache."""

    config: ClassVar[str] = "CartridgeConfig"
    num_virtual_tokens: int
    modules_to_save: tuple[str, ...] | None
    num_frozen_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpt(PeftStage):
    """Context-aware prompt tuning: the tokens of an example, trained.

    Source: PEFT's `CPTConfig`, https://arxiv.org/abs/2410.17222.
    """

    config: ClassVar[str] = "CPTConfig"
    modules_to_save: tuple[str, ...] | None
    cpt_token_ids: tuple[int, ...] | None
    cpt_mask: tuple[int, ...] | None
    cpt_tokens_type_mask: tuple[int, ...] | None
    opt_weighted_loss_type: Literal["none", "decay"] | None
    opt_loss_decay_factor: float | None
    opt_projection_epsilon: float | None
    opt_projection_format_epsilon: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Deft(PeftStage):
    """An update in the projection of the weight."""

    config: ClassVar[str] = "DeftConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    decomposition_method: Literal["relu", "qr"]
    init_scale: float
    alpha: int | None
    para: bool
    deft_dropout: float
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    bias: Literal["none", "all", "deft_only"]
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeLora(PeftStage):
    """Angle and strength apart.

    Source: PEFT's `DeloraConfig`, https://arxiv.org/abs/2503.18225.
    """

    config: ClassVar[str] = "DeloraConfig"
    r: int
    delora_lambda: int
    module_dropout: float
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    bias: Literal["none", "all", "delora_only"]
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    rank_pattern: Mapping[str, int]
    lambda_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FourierFt(PeftStage):
    """A few Fourier coefficients of the update.

    Source: PEFT's `FourierFTConfig`, https://arxiv.org/abs/2405.03003.
    """

    config: ClassVar[str] = "FourierFTConfig"
    n_frequency: int
    scaling: float
    random_loc_seed: int | None
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    bias: Literal["none", "all", "fourierft_only"]
    modules_to_save: tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    n_frequency_pattern: Mapping[str, int]
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Frod(PeftStage):
    """Sparse rotations in a basis that all layers share."""

    config: ClassVar[str] = "FrodConfig"
    target_modules: str | tuple[str, ...] | None
    projection_prng_key: int
    frod_dropout: float
    bias: Literal["none", "all", "frod_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    sparse_rate: float
    regularization_alpha: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GLora(PeftStage):
    """Generalised LoRA: of weight, bias and input."""

    config: ClassVar[str] = "GloraConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    bias: Literal["none", "all", "glora_only"]
    modules_to_save: tuple[str, ...] | None
    config_A_B: Literal["lora", "vector", "constant", "none"]
    config_C: Literal["lora", "vector", "none"]
    config_D_E: Literal["vector", "constant", "none"]
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class GraLora(PeftStage):
    """LoRA in blocks of the weight."""

    config: ClassVar[str] = "GraloraConfig"
    r: int
    hybrid_r: int
    target_modules: str | tuple[str, ...] | None
    alpha: int
    gralora_dropout: float
    gralora_k: int
    bias: Literal["none", "all", "gralora_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hira(PeftStage):
    """The weight times a low-rank matrix, value by value."""

    config: ClassVar[str] = "HiraConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    hira_dropout: float
    modules_to_save: tuple[str, ...] | None
    init_weights: bool | Literal["gaussian"] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    rank_pattern: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hra(PeftStage):
    """Householder reflections.

    Source: PEFT's `HRAConfig`, https://arxiv.org/abs/2405.17484.
    """

    config: ClassVar[str] = "HRAConfig"
    r: int
    apply_GS: bool
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    bias: Literal["none", "all", "hra_only"]
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ia3(PeftStage):
    """A factor for each feature.

    Source: PEFT's `IA3Config`, https://arxiv.org/abs/2205.05638.
    """

    config: ClassVar[str] = "IA3Config"
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    feedforward_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    init_ia3_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Lily(PeftStage):
    """Low-rank matrices that layers share.

    Source: PEFT's `LilyConfig`, https://arxiv.org/abs/2407.09946.
    """

    config: ClassVar[str] = "LilyConfig"
    r: int
    stride_A: int
    num_B: int
    scaling: float
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LnTuning(PeftStage):
    """The layer norms alone.

    Source: PEFT's `LNTuningConfig`, https://arxiv.org/abs/2312.11420.
    """

    config: ClassVar[str] = "LNTuningConfig"
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoHa(PeftStage):
    """Low-rank Hadamard product.

    Source: PEFT's `LoHaConfig`, https://arxiv.org/abs/2108.06098.
    """

    config: ClassVar[str] = "LoHaConfig"
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    r: int
    alpha: int
    rank_dropout: float
    module_dropout: float
    use_effective_conv2d: bool
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoKr(PeftStage):
    """Low-rank Kronecker product.

    Source: PEFT's `LoKrConfig`, https://arxiv.org/abs/2309.14859.
    """

    config: ClassVar[str] = "LoKrConfig"
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    r: int
    alpha: int
    rank_dropout: float
    module_dropout: float
    use_effective_conv2d: bool
    decompose_both: bool
    decompose_factor: int
    rank_dropout_scale: bool
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    init_weights: bool | Literal["lycoris"]
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Miss(PeftStage):
    """One matrix of shared shards.

    Source: PEFT's `MissConfig`, https://arxiv.org/abs/2409.15371.
    """

    config: ClassVar[str] = "MissConfig"
    r: int
    miss_dropout: float
    mini_r: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    init_weights: bool | Literal["bat", "mini"]
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | None
    bias: Literal["none", "all", "miss_only"]
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MultitaskPromptTuning(PeftStage):
    """A prompt that tasks share, times one of low rank for each.

    Source: PEFT's `MultitaskPromptTuningConfig`, https://arxiv.org/abs/2303.02861.
    """

    config: ClassVar[str] = "MultitaskPromptTuningConfig"
    num_virtual_tokens: int
    modules_to_save: tuple[str, ...] | None
    prompt_tuning_init: Literal["RANDOM", "TEXT"]
    prompt_tuning_init_text: str | None
    num_ranks: int | None
    num_tasks: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Oft(PeftStage):
    """Orthogonal fine-tuning.

    Source: PEFT's `OFTConfig`, https://arxiv.org/abs/2306.07280.
    """

    config: ClassVar[str] = "OFTConfig"
    r: int
    oft_block_size: int
    module_dropout: float
    target_modules: str | tuple[str, ...] | None
    bias: Literal["none", "all", "oft_only"]
    exclude_modules: str | tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    coft: bool
    eps: float
    block_share: bool
    use_cayley_neumann: bool
    num_cayley_neumann_terms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Osf(PeftStage):
    """A weight's weakest singular directions, trained in full."""

    config: ClassVar[str] = "OSFConfig"
    effective_rank: int | float | None
    target_modules: str | tuple[str, ...] | None
    rank_pattern: Mapping[str, int]
    init_weights: bool | None
    modules_to_save: tuple[str, ...] | None
    target_svd_config: Mapping[str, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Peanut(PeftStage):
    """A small network on the weight.

    Source: PEFT's `PeanutConfig`, https://arxiv.org/abs/2410.01870.
    """

    config: ClassVar[str] = "PeanutConfig"
    r: int
    depth: int
    act_fn: str
    scaling: float
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Poly(PeftStage):
    """Skills that tasks share, and a router.

    Source: PEFT's `PolyConfig`, https://arxiv.org/abs/2202.13914.
    """

    config: ClassVar[str] = "PolyConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    poly_type: Literal["poly"]
    n_tasks: int
    n_skills: int
    n_splits: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixTuning(PeftStage):
    """Virtual keys and values in each block.

    Source: PEFT's `PrefixTuningConfig`, https://arxiv.org/abs/2101.00190.
    """

    config: ClassVar[str] = "PrefixTuningConfig"
    num_virtual_tokens: int
    modules_to_save: tuple[str, ...] | None
    init_weights: Literal["zero"] | None
    encoder_hidden_size: int | None
    prefix_projection: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptTuning(PeftStage):
    """Virtual tokens before the text.

    Source: PEFT's `PromptTuningConfig`, https://arxiv.org/abs/2104.08691.
    """

    config: ClassVar[str] = "PromptTuningConfig"
    num_virtual_tokens: int
    modules_to_save: tuple[str, ...] | None
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"]
    prompt_tuning_init_text: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PTuning(PeftStage):
    """Virtual tokens from a small network.

    Source: PEFT's `PromptEncoderConfig`, https://arxiv.org/abs/2103.10385.
    """

    config: ClassVar[str] = "PromptEncoderConfig"
    num_virtual_tokens: int
    modules_to_save: tuple[str, ...] | None
    encoder_reparameterization_type: str | Literal["MLP", "LSTM"]
    encoder_hidden_size: int | None
    encoder_num_layers: int
    encoder_dropout: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Psoft(PeftStage):
    """Orthogonal fine-tuning in the principal subspace."""

    config: ClassVar[str] = "PsoftConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    psoft_alpha: int
    psoft_dropout: float
    ab_svd_init: Literal["psoft_init", "pissa_init"]
    psoft_svd: Literal["full", "lowrank"]
    psoft_svd_lowrank_niter: int
    random_seed: int
    psoft_orth: bool
    psoft_mag_b: bool
    psoft_mag_a: bool
    use_cayley_neumann: bool
    num_cayley_neumann_terms: int
    cayley_neumann_eps: float | None
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pvera(PeftStage):
    """VeRA, probabilistic.

    Source: PEFT's `PveraConfig`, https://arxiv.org/abs/2512.07703.
    """

    config: ClassVar[str] = "PveraConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    projection_prng_key: int
    pvera_dropout: float
    d_initial: float
    bias: Literal["none", "all", "pvera_lambda_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    sample_at_inference: bool
    generator_seed: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RandLora(PeftStage):
    """Random bases, scaled.

    Source: PEFT's `RandLoraConfig`, https://arxiv.org/abs/2502.00987.
    """

    config: ClassVar[str] = "RandLoraConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    projection_prng_key: int
    sparse: bool
    very_sparse: bool
    randlora_dropout: float
    randlora_alpha: int
    bias: Literal["none", "all", "randlora_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Road(PeftStage):
    """Rotations in the plane.

    Source: PEFT's `RoadConfig`, https://arxiv.org/abs/2409.00119.
    """

    config: ClassVar[str] = "RoadConfig"
    variant: Literal["road_1", "road_2", "road_4"]
    group_size: int
    init_weights: bool
    target_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow(PeftStage):
    """A small network that runs beside the model."""

    config: ClassVar[str] = "ShadowConfig"
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    r: int
    shadow_alpha: float
    shadow_dropout: float
    init_weights: bool
    shadow_num_hidden_layers: int | None
    shadow_hidden_size: int | None
    shadow_num_attention_heads: int | None
    shadow_intermediate_size: int | None
    share_embeddings: bool
    update_hidden_size: int | None
    auxiliary_loss_weight: float
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shira(PeftStage):
    """A few values of the weight."""

    config: ClassVar[str] = "ShiraConfig"
    r: int
    mask_type: Literal["random"]
    random_seed: int | None
    target_modules: str | tuple[str, ...] | None
    init_weights: bool
    modules_to_save: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Supertuning(PeftStage):
    """The largest values.

    Source: PEFT's `SupertuningConfig`, https://arxiv.org/abs/2607.09287.
    """

    config: ClassVar[str] = "SupertuningConfig"
    target_modules: str | tuple[str, ...] | None
    modules_to_save: tuple[str, ...] | None
    sparsity: float
    select_top: bool
    r: int | None
    lora_alpha: float | None
    lora_dropout: float
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyLora(PeftStage):
    """A vector for a module.

    Source: PEFT's `TinyLoraConfig`, https://arxiv.org/abs/2602.04118.
    """

    config: ClassVar[str] = "TinyLoraConfig"
    r: int
    u: int
    weight_tying: float
    projection_seed: int
    init_v_bound: float
    target_modules: str | tuple[str, ...] | None
    tinylora_dropout: float
    bias: Literal["none", "all", "tinylora_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool | Literal["uniform"]
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainableTokens(PeftStage):
    """The embeddings of some tokens."""

    config: ClassVar[str] = "TrainableTokensConfig"
    token_indices: tuple[int, ...]
    target_modules: str | tuple[str, ...] | None
    init_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class UniLora(PeftStage):
    """One vector for all layers.

    Source: PEFT's `UniLoraConfig`, https://arxiv.org/abs/2506.00799.
    """

    config: ClassVar[str] = "UniLoraConfig"
    r: int
    proj_seed: int
    theta_d_length: int
    target_modules: str | tuple[str, ...] | None
    unilora_dropout: float
    bias: Literal["none", "all", "unilora_only"]
    modules_to_save: tuple[str, ...] | None
    init_theta_d_bound: float
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class VbLora(PeftStage):
    """LoRA from a bank of vectors.

    Source: PEFT's `VBLoRAConfig`, https://arxiv.org/abs/2405.15179.
    """

    config: ClassVar[str] = "VBLoRAConfig"
    r: int
    num_vectors: int
    vector_length: int
    topk: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    vblora_dropout: float
    bias: Literal["none", "all", "vblora_only"]
    modules_to_save: tuple[str, ...] | None
    init_vector_bank_bound: float
    init_logits_std: float
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Vera(PeftStage):
    """Shared random matrices, scaled.

    Source: PEFT's `VeraConfig`, https://arxiv.org/abs/2310.11454.
    """

    config: ClassVar[str] = "VeraConfig"
    r: int
    target_modules: str | tuple[str, ...] | None
    projection_prng_key: int
    vera_dropout: float
    d_initial: float
    bias: Literal["none", "all", "vera_lambda_only"]
    modules_to_save: tuple[str, ...] | None
    init_weights: bool
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WaveFt(PeftStage):
    """A few wavelet coefficients of the update."""

    config: ClassVar[str] = "WaveFTConfig"
    n_frequency: int
    scaling: float
    wavelet_family: str
    use_idwt: bool
    random_loc_seed: int
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    bias: Literal["none", "all", "waveft_only"]
    modules_to_save: tuple[str, ...] | None
    layers_to_transform: tuple[int, ...] | None
    layers_pattern: str | tuple[str, ...] | None
    n_frequency_pattern: Mapping[str, int]
    proportional_parameters: bool
    init_weights: bool
