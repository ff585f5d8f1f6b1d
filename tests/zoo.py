"""Tiny real models of many families.

Widths are multiples of 16, because some kinds of adapters cut weights into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
import transformers
from torch import Tensor, nn

LAYERS, WIDTH, HEADS, INNER, WORDS, LABELS = 2, 32, 4, 64, 97, 3
STRONG = 0.2
"""Spread of the weights: with the usual 0.02, models this small hardly look at their input."""
TEXT = MappingProxyType(
    {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
)
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
    blocks: str | None = None
    """Pattern of the repeated layers, where PEFT does not find them itself."""
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
        blocks=r".*\.encoder\.layer\.\d+",
        norms=("LayerNorm",), embedding="word_embeddings",
    ),
    Family(
        name="RoBERTa",
        make=of("RobertaForSequenceClassification", "RobertaConfig", **BERT, pad_token_id=1),
        inputs=text, axes=TEXT, task="SEQ_CLS",
        targets=("query", "value"), feed_forward=("intermediate.dense",),
        blocks=r".*\.encoder\.layer\.\d+",
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
        blocks=r".*\.transformer\.layer\.\d+",
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
        blocks=r".*\.albert_layers\.\d+",
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
        blocks=r".*\.block\.\d+",
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
        targets=("features.4", "hidden"), linear=("hidden",), feed_forward=("hidden",),
        norms=("features.5",),
    ),
)  # fmt: skip
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}
