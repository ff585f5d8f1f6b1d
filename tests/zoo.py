"""Tiny real models of many families, and a setting of every kind of adapter that PEFT has.

Widths are multiples of 16, because some kinds cut weights into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import peft
import torch
import transformers
from peft import PeftConfig, PeftModel, PeftType
from torch import Tensor, nn

LAYERS, WIDTH, HEADS, INNER, WORDS, LABELS, VIRTUAL = 2, 32, 4, 64, 97, 3, 5
STRONG = 0.2
"""Spread of the weights: with the usual 0.02, models this small hardly look at their input."""
TEXT = MappingProxyType({name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")})
IMAGE = MappingProxyType({"pixel_values": {0: "batch"}})


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """A model, what it reads, and the names by which adapters find its layers."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, int], dict[str, Tensor]]
    """From a number of rows and of tokens; images have no tokens."""
    axes: Mapping[str, Mapping[int, str]]
    targets: tuple[str, ...]
    linear: tuple[str, ...] = ()
    """Those of them that are Linear, if others are not: many kinds take no other layer."""
    feed_forward: tuple[str, ...] = ()
    """For IA3, which scales what enters these."""
    norms: tuple[str, ...] = ()
    embedding: str | None = None
    """Of the words; None for images."""
    prompt: Mapping[str, int] = field(default_factory=dict)
    """What PEFT cannot read off the model's config, for kinds that add virtual tokens."""
    task: str | None = None
    """PEFT's task type."""
    transposed: bool = False
    """Weights are stored (in, out), as GPT-2 does."""

    def build(self) -> nn.Module:
        """Return the model in eval mode, with the same random weights every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().eval()


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A model with an adapter in it."""

    model: PeftModel
    before: Mapping[str, str]
    """Names and class names of the modules of the model before."""
    targets: tuple[str, ...]
    inputs: Callable[[int, int], dict[str, Tensor]]
    axes: Mapping[str, Mapping[int, str]]


class Refused(Exception):
    """PEFT does not put this kind of adapter into this model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of adapter, with settings that fit the models here."""

    name: str
    type: PeftType
    settings: Callable[[Family], Mapping[str, object]] = lambda family: {}
    inputs: Callable[[int], Mapping[str, Tensor]] = lambda rows: {}
    """What a model with this adapter reads besides."""
    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    noise: float = 0.1
    """Spread of what is added to the values that train, since many start as no change at all."""

    def config(self, family: Family, targets: tuple[str, ...]) -> PeftConfig:
        """Return PEFT's config of this kind for a model of this family."""
        kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[self.type]
        known = {each.name for each in fields(kind)}
        usual: dict[str, object] = {"task_type": family.task}
        if "target_modules" in known:
            usual["target_modules"] = list(targets)
        if "num_virtual_tokens" in known:
            usual |= family.prompt
        if family.transposed and "fan_in_fan_out" in known:
            usual["fan_in_fan_out"] = True
        return kind(**(usual | dict(self.settings(family))))

    def insert(self, family: Family) -> Adapted:
        """Build the model and put the adapter into it, with random values in what would train.

        Raises:
            Refused: PEFT does not do that, or what it made does not run in torch.
        """
        reads_words = self.type in TOKENS or issubclass(
            peft.PEFT_TYPE_TO_CONFIG_MAPPING[self.type], peft.PromptLearningConfig
        )
        if reads_words and family.embedding is None:
            raise Refused("needs words, which images have not")
        try:
            return self._insert(family, family.targets)
        except Refused:
            if not family.linear:
                raise
            return self._insert(family, family.linear)

    def _insert(self, family: Family, targets: tuple[str, ...]) -> Adapted:
        model = family.build()
        before = {name: type(module).__name__ for name, module in model.named_modules()}
        given = family.inputs(2, 8) | dict(self.inputs(2))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            try:
                adapted = peft.get_peft_model(model, self.config(family, targets)).eval()
            except Exception as error:
                raise Refused(str(error)) from error
            for value in adapted.parameters():
                if value.requires_grad:
                    value.add_(self.noise * torch.randn_like(value))
            try:
                adapted(**given)
            except Exception as error:
                raise Refused(f"its forward fails: {error}") from error
        if adapted.get_nb_trainable_parameters()[0] == 0:
            raise Refused("skips every layer that was named")
        return Adapted(
            model=adapted,
            before=before,
            targets=targets,
            inputs=lambda rows, tokens: family.inputs(rows, tokens) | dict(self.inputs(rows)),
            axes={**family.axes, **self.axes},
        )


def words(rows: int, tokens: int, generator: torch.Generator) -> Tensor:
    return torch.randint(3, WORDS, (rows, tokens), generator=generator)


def text(rows: int, tokens: int) -> dict[str, Tensor]:
    """Random tokens; each row but the first is padded at its end."""
    generator = torch.Generator().manual_seed(rows * tokens)
    mask = torch.ones(rows, tokens, dtype=torch.long)
    for row in range(1, rows):
        mask[row, tokens - min(row, tokens // 2) :] = 0
    return {"input_ids": words(rows, tokens, generator), "attention_mask": mask}


def translation(rows: int, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows + tokens)
    return {**text(rows, tokens), "decoder_input_ids": words(rows, tokens - 1, generator)}


def images(rows: int, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {"pixel_values": torch.randn(rows, 3, 32, 32, generator=generator)}


def digits(rows: int, tokens: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {"images": torch.randn(rows, 1, 28, 28, generator=generator)}


class Cnn(nn.Module):
    """What a user writes: it knows nothing of transformers and returns a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
        )  # fmt: skip
        self.hidden = nn.Linear(32 * 4 * 4, WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.hidden(self.features(images).flatten(1)))
        logits: Tensor = self.head(hidden)
        return logits


def of(model: str, config: str, **settings: object) -> Callable[[], nn.Module]:
    """Return a function that builds a transformers model from a config."""

    def make() -> nn.Module:
        built: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**settings))
        return built

    return make


BERT: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "intermediate_size": INNER, "max_position_embeddings": 64,
    "num_labels": LABELS, "initializer_range": STRONG,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": 2, "intermediate_size": INNER,
    "max_position_embeddings": 64, "use_cache": False, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "initializer_range": STRONG,
}  # fmt: skip

_FAMILIES = (
    Family(
        name="BERT",
        make=of("BertForSequenceClassification", "BertConfig", **BERT),
        inputs=text, axes=TEXT, task="SEQ_CLS",
        targets=("query", "value"), feed_forward=("intermediate.dense",),
        norms=("LayerNorm",), embedding="word_embeddings",
    ),
    Family(
        name="RoBERTa",
        make=of("RobertaForSequenceClassification", "RobertaConfig", **BERT, pad_token_id=1),
        inputs=text, axes=TEXT, task="SEQ_CLS",
        targets=("query", "value"), feed_forward=("intermediate.dense",),
        norms=("LayerNorm",), embedding="word_embeddings",
    ),
    Family(
        name="DistilBERT",
        make=of(
            "DistilBertForSequenceClassification", "DistilBertConfig", vocab_size=WORDS, dim=WIDTH,
            n_layers=LAYERS, n_heads=HEADS, hidden_dim=INNER, max_position_embeddings=64,
            num_labels=LABELS, initializer_range=STRONG,
        ),
        inputs=text, axes=TEXT, task="SEQ_CLS",
        targets=("q_lin", "v_lin"), feed_forward=("ffn.lin1",),
        norms=("sa_layer_norm", "output_layer_norm"), embedding="word_embeddings",
        prompt={"token_dim": WIDTH, "num_layers": LAYERS, "num_attention_heads": HEADS},
    ),
    Family(
        name="ALBERT",
        make=of(
            "AlbertForSequenceClassification", "AlbertConfig", **BERT, embedding_size=16,
            num_hidden_groups=1, inner_group_num=1,
        ),
        inputs=text, axes=TEXT, task="SEQ_CLS",
        targets=("query", "value"), feed_forward=("ffn_output",),
        norms=("full_layer_layer_norm",), embedding="word_embeddings",
        prompt={"token_dim": 16},
    ),
    Family(
        name="GPT-2",
        make=of(
            "GPT2LMHeadModel", "GPT2Config", vocab_size=WORDS, n_embd=WIDTH, n_layer=LAYERS,
            n_head=HEADS, n_positions=64, use_cache=False, bos_token_id=0, eos_token_id=1,
            initializer_range=STRONG,
        ),
        inputs=text, axes=TEXT, task="CAUSAL_LM",
        targets=("c_attn",), feed_forward=("mlp.c_proj",),
        norms=("ln_1", "ln_2"), embedding="wte", transposed=True,
    ),
    Family(
        name="Llama",
        make=of("LlamaForCausalLM", "LlamaConfig", **LLAMA),
        inputs=text, axes=TEXT, task="CAUSAL_LM",
        targets=("q_proj", "v_proj"), feed_forward=("down_proj",),
        norms=("input_layernorm", "post_attention_layernorm"), embedding="embed_tokens",
    ),
    Family(
        name="Qwen 3",
        make=of("Qwen3ForCausalLM", "Qwen3Config", **LLAMA, head_dim=8),
        inputs=text, axes=TEXT, task="CAUSAL_LM",
        targets=("q_proj", "v_proj"), feed_forward=("down_proj",),
        norms=("input_layernorm", "post_attention_layernorm"), embedding="embed_tokens",
    ),
    Family(
        name="T5",
        make=of(
            "T5ForConditionalGeneration", "T5Config", vocab_size=WORDS, d_model=WIDTH, d_kv=8,
            d_ff=INNER, num_layers=LAYERS, num_heads=HEADS, use_cache=False, pad_token_id=0,
            decoder_start_token_id=0,
        ),
        inputs=translation, task="SEQ_2_SEQ_LM",
        axes={**TEXT, "decoder_input_ids": {0: "batch", 1: "decoder_sequence"}},
        targets=("q", "v"), feed_forward=("wo",), norms=("layer_norm",), embedding="shared",
    ),
    Family(
        name="ViT",
        make=of(
            "ViTForImageClassification", "ViTConfig", hidden_size=WIDTH, num_hidden_layers=LAYERS,
            num_attention_heads=HEADS, intermediate_size=INNER, image_size=32, patch_size=8,
            num_labels=LABELS, initializer_range=STRONG,
        ),
        inputs=images, axes=IMAGE,
        targets=("q_proj", "v_proj"), feed_forward=("fc1",),
        norms=("layernorm_before", "layernorm_after"),
    ),
    Family(
        name="ResNet",
        make=of(
            "ResNetForImageClassification", "ResNetConfig", embedding_size=16,
            hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic", num_labels=LABELS,
        ),
        inputs=images, axes=IMAGE,
        targets=("layer.0.convolution", "layer.1.convolution"),
        feed_forward=("layer.0.convolution",), norms=("normalization",),
    ),
    Family(
        name="CNN",
        make=Cnn,
        inputs=digits, axes={"images": {0: "batch"}},
        targets=("features.4", "hidden"), linear=("hidden",), feed_forward=("hidden",), norms=("features.5",),
    ),
)  # fmt: skip
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}


def each(**settings: object) -> Callable[[Family], Mapping[str, object]]:
    """Return a function that gives every family the same settings."""
    return lambda family: settings


def ia3(family: Family) -> Mapping[str, object]:
    return {
        "target_modules": [*family.targets, *family.feed_forward],
        "feedforward_modules": list(family.feed_forward),
    }


def tokens(family: Family) -> Mapping[str, object]:
    return {"token_indices": list(range(3, 40)), "target_modules": [family.embedding]}


def tasks(rows: int) -> Mapping[str, Tensor]:
    return {"task_ids": torch.arange(rows) % 2}


LORA = {"r": 4, "lora_alpha": 12}
_KINDS = (
    Kind(name="LoRA", type=PeftType.LORA, settings=each(**LORA)),
    Kind(name="rsLoRA", type=PeftType.LORA, settings=each(**LORA, use_rslora=True)),
    Kind(name="DoRA", type=PeftType.LORA, settings=each(**LORA, use_dora=True)),
    Kind(name="IA3", type=PeftType.IA3, settings=ia3),
    Kind(name="AdaLoRA", type=PeftType.ADALORA, settings=each(init_r=6, target_r=4, total_step=100)),
    Kind(name="LoHa", type=PeftType.LOHA, settings=each(r=4, alpha=8)),
    Kind(name="LoKr", type=PeftType.LOKR, settings=each(r=4, alpha=8)),
    Kind(name="OFT", type=PeftType.OFT, settings=each(oft_block_size=16), noise=0.02),
    Kind(name="VeRA", type=PeftType.VERA, settings=each(r=8)),
    Kind(name="prompt tuning", type=PeftType.PROMPT_TUNING, settings=each(num_virtual_tokens=VIRTUAL)),
    Kind(name="prefix tuning", type=PeftType.PREFIX_TUNING, settings=each(num_virtual_tokens=VIRTUAL)),
    Kind(
        name="P-tuning", type=PeftType.P_TUNING,
        settings=each(num_virtual_tokens=VIRTUAL, encoder_hidden_size=WIDTH),
    ),
    Kind(name="AdaMSS", type=PeftType.ADAMSS, settings=each(r=8, num_subspaces=2)),
    Kind(name="adaption prompt", type=PeftType.ADAPTION_PROMPT, settings=each(adapter_len=4, adapter_layers=LAYERS, target_modules=None)),
    Kind(name="BEFT", type=PeftType.BEFT),
    Kind(name="BOFT", type=PeftType.BOFT, settings=each(boft_block_size=4)),
    Kind(name="C3A", type=PeftType.C3A, settings=each(block_size=16)),
    Kind(name="Cartridge", type=PeftType.CARTRIDGE, settings=each(num_virtual_tokens=VIRTUAL)),
    Kind(
        name="CPT", type=PeftType.CPT,
        settings=each(cpt_token_ids=[3, 4, 5, 6], cpt_mask=[1, 1, 1, 1], cpt_tokens_type_mask=[1, 2, 3, 4]),
    ),
    Kind(name="DEFT", type=PeftType.DEFT, settings=each(r=4)),
    Kind(name="DeLoRA", type=PeftType.DELORA, settings=each(r=4)),
    Kind(name="FourierFT", type=PeftType.FOURIERFT, settings=each(n_frequency=50)),
    Kind(name="FRoD", type=PeftType.FROD, settings=each(sparse_rate=0.05, progressbar=False)),
    Kind(name="GLoRA", type=PeftType.GLORA, settings=each(r=4)),
    Kind(name="GraLoRA", type=PeftType.GRALORA, settings=each(r=4, alpha=8)),
    Kind(name="HiRA", type=PeftType.HIRA, settings=each(r=4)),
    Kind(name="HRA", type=PeftType.HRA, settings=each(r=4)),
    Kind(name="Lily", type=PeftType.LILY, settings=each(r=4)),
    Kind(name="LN tuning", type=PeftType.LN_TUNING, settings=lambda family: {"target_modules": list(family.norms)}),
    Kind(name="MiSS", type=PeftType.MISS, settings=each(r=4)),
    Kind(
        name="multitask prompt tuning", type=PeftType.MULTITASK_PROMPT_TUNING,
        settings=each(num_virtual_tokens=VIRTUAL, num_tasks=2),
        inputs=tasks, axes={"task_ids": {0: "batch"}},
    ),
    Kind(name="OSF", type=PeftType.OSF, settings=each(effective_rank=8)),
    Kind(name="PEANuT", type=PeftType.PEANUT, settings=each(r=4)),
    Kind(
        name="Poly", type=PeftType.POLY, settings=each(r=4, n_tasks=2, n_skills=2),
        inputs=tasks, axes={"task_ids": {0: "batch"}},
    ),
    Kind(name="PSOFT", type=PeftType.PSOFT, settings=each(r=4)),
    Kind(name="PVeRA", type=PeftType.PVERA, settings=each(r=8)),
    Kind(name="RandLoRA", type=PeftType.RANDLORA, settings=each(r=4)),
    Kind(name="RoAd", type=PeftType.ROAD, settings=each(group_size=16)),
    Kind(name="Shadow", type=PeftType.SHADOW, settings=each(r=4, target_modules=None)),
    Kind(name="SHiRA", type=PeftType.SHIRA, settings=each(r=4)),
    Kind(name="Supertuning", type=PeftType.SUPERTUNING, settings=each(sparsity=0.9)),
    Kind(name="TinyLoRA", type=PeftType.TINYLORA, settings=each(r=2)),
    Kind(name="trainable tokens", type=PeftType.TRAINABLE_TOKENS, settings=tokens),
    Kind(name="Uni-LoRA", type=PeftType.UNILORA, settings=each(r=4)),
    Kind(name="VB-LoRA", type=PeftType.VBLORA, settings=each(r=4, num_vectors=32, vector_length=16)),
    Kind(name="WaveFT", type=PeftType.WAVEFT, settings=each(n_frequency=50)),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
MAIN = tuple(KINDS)[:12]
"""The kinds that people use most."""
TOKENS = {PeftType.TRAINABLE_TOKENS}
LEFT_OUT: dict[PeftType, str] = {
    PeftType.XLORA: "a gate over several LoRA adapters that were trained and saved before",
}
