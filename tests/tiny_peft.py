"""PEFT by itself, without this pipeline: whether it can train an adapter in a tiny model at all.

What `scripts/support` asks when a run fails, so that a cell blames the right library.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

__all__ = ["ALONE", "TARGETS", "overrides", "settings", "train"]

_ROOT = Path(__file__).resolve().parent.parent
_ADAPTERS = _ROOT / "configs/adapter"
_OWN = ("bitfit", "bottleneck", "head_only", "none", "existing")
"""Those that are no kind of PEFT's."""
ALONE = tuple(file.stem for file in sorted(_ADAPTERS.glob("*.yaml")) if file.stem not in _OWN)
"""Adapters that PEFT has."""
TARGETS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "bert": (("query", "value"), ("intermediate.dense",), ("LayerNorm",)),
    "roberta": (("query", "value"), ("intermediate.dense",), ("LayerNorm",)),
    "distilbert": (("q_lin", "v_lin"), ("lin1",), ("sa_layer_norm", "output_layer_norm")),
    "modernbert": (("Wqkv",), ("Wo",), ("mlp_norm",)),
    "deberta_v2": (("query_proj", "value_proj"), ("intermediate.dense",), ("LayerNorm",)),
    "gpt2": (("c_attn",), ("mlp.c_proj",), ("ln_1", "ln_2")),
    "llama": (("q_proj", "v_proj"), ("down_proj",), ("input_layernorm",)),
    "qwen3": (("q_proj", "v_proj"), ("down_proj",), ("input_layernorm",)),
    "mistral": (("q_proj", "v_proj"), ("down_proj",), ("input_layernorm",)),
    "gemma": (("q_proj", "v_proj"), ("down_proj",), ("input_layernorm",)),
    "t5": (("q", "v"), ("wo",), ("layer_norm",)),
    "vit": (("q_proj", "v_proj"), ("fc1",), ("layernorm_before",)),
    "resnet": (("convolution",), ("convolution",), ("normalization",)),
    "convnext": (("pwconv1", "pwconv2"), ("pwconv1",), ("layernorm",)),
    "timm": (("qkv", "proj"), ("fc1",), ("norm1",)),
    "cnn": (("features.4", "hidden"), ("hidden",), ("features.5",)),
}
"""Of each family: usual targets, what feeds forward, and norms."""
_SMALL: Mapping[str, Mapping[str, Any]] = {
    "adalora": {"init_r": 6, "target_r": 4},
    "adamss": {"r": 8, "num_subspaces": 2},
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 2, "target_modules": None},
    "boft": {"boft_block_size": 4},
    "bottleneck": {},
    "c3a": {"block_size": 16},
    "cartridge": {"num_virtual_tokens": 5},
    "cpt": {
        "cpt_token_ids": [3, 4, 5, 6], "cpt_mask": [1] * 4, "cpt_tokens_type_mask": [1, 2, 3, 4],
    },
    "fourierft": {"n_frequency": 50},
    "frod": {"sparse_rate": 0.05},
    "multitask_prompt_tuning": {"num_virtual_tokens": 5, "num_tasks": 2},
    "oft": {"oft_block_size": 16, "r": 0},
    "osf": {"effective_rank": 8},
    "p_tuning": {"num_virtual_tokens": 5, "encoder_hidden_size": 32},
    "poly": {"r": 4, "n_tasks": 2, "n_skills": 2},
    "prefix_tuning": {"num_virtual_tokens": 5},
    "prompt_tuning": {"num_virtual_tokens": 5},
    "road": {"group_size": 16},
    "trainable_tokens": {"token_indices": [5, 6, 7]},
    "vblora": {"num_vectors": 32, "vector_length": 16, "r": 4},
    "waveft": {"n_frequency": 50},
}  # fmt: skip
"""What must be said or made smaller for models this narrow."""


def overrides(family: str, adapter: str) -> list[str]:
    """Return what the command line needs to put an adapter into the tiny model of a family."""
    return [
        f"adapter.{key}={_said(value)}"
        for key, value in _changes(family, adapter, settings(adapter)).items()
    ]


def _changes(family: str, adapter: str, said: Mapping[str, Any]) -> dict[str, Any]:
    usual, forward, norms = TARGETS[family]
    changes: dict[str, Any] = {}
    if "target_modules" in said and adapter not in ("shadow", "trainable_tokens"):
        changes["target_modules"] = list(norms if adapter == "ln_tuning" else usual)
    if adapter == "ia3":
        changes |= {"target_modules": [*usual, *forward], "feedforward_modules": list(forward)}
    if family == "gpt2" and "fan_in_fan_out" in said:
        changes["fan_in_fan_out"] = True
    if isinstance(said.get("r"), int) and said["r"] > 4:
        changes["r"] = 4
    return changes | dict(_SMALL.get(adapter, {}))


def _said(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_said, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def settings(adapter: str) -> dict[str, Any]:
    """Return the keys of an adapter's YAML file."""
    return _read(_ADAPTERS / f"{adapter}.yaml")


def train(family: str, adapter: str, task: str) -> None:
    """Put the adapter into the model and take one step: forward, backward.

    Raises:
        SystemExit: PEFT cannot; with its words.
    """
    import peft
    import torch
    from peft.tuners.tuners_utils import BaseTuner

    from pipeline.tasks import task_named
    from pipeline.tasks.head import check_head_trains

    warnings.simplefilter("ignore")
    said = settings(adapter)
    about = task_named(task)
    model = _model(family, about.auto_class)
    config = _config(str(said["_target_"]))
    said |= _changes(family, adapter, said)
    told = {key: value for key, value in said.items() if key in config.__dataclass_fields__}
    if adapter == "adalora":
        told["total_step"] = 100
    try:
        adapted = peft.get_peft_model(model, config(**told, task_type=about.peft_task_type))
        adapted.train()
        ids = torch.randint(4, 250, (2, 9))
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if task == "seq2seq":
            given["decoder_input_ids"] = ids[:, :5]
        if about.reads == "images":
            size = getattr(model.config, "image_size", 16)
            given = {"pixel_values": torch.randn(2, model.config.num_channels, size, size)}
        adapted(**given).logits.float().pow(2).mean().backward()
        if about.labelled:
            check_head_trains(adapted)
    except Exception as error:  # whatever it says is what is told
        raise SystemExit(" ".join(str(error).split()) or type(error).__name__) from error
    if isinstance(adapted.base_model, BaseTuner) and not any(
        value.requires_grad for value in adapted.parameters()
    ):
        raise SystemExit("skips every layer that was named")


def _config(target: str) -> Any:
    """Return PEFT's config of the kind that a class of ours stands for."""
    import importlib

    import peft

    module, _, name = target.rpartition(".")
    return getattr(peft, getattr(importlib.import_module(module), name).config)


def _read(file: Path) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def _model(family: str, auto_class: str) -> Any:
    import transformers

    said = _read(_ROOT / f"tests/tiny/model/tiny_{family}.yaml")
    config = transformers.AutoConfig.for_model(
        said["model_type"], **{"vocab_size": 260, "pad_token_id": 0, **said["config"]}
    )
    return getattr(transformers, auto_class).from_config(config)
