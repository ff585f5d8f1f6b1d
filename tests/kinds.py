"""A setting of every kind of adapter that PEFT has, and how it gets into a model of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import peft
import torch
from peft import PeftConfig, PeftModel, PeftType
from torch import Tensor
from zoo import LAYERS, WIDTH, Family

VIRTUAL = 5
"""Tokens that kinds which change the input add to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A model with an adapter in it."""

    model: PeftModel
    before: Mapping[str, str]
    """Names and class names of the modules of the model before."""
    targets: tuple[str, ...]
    inputs: Callable[[int, int], dict[str, Tensor]]
    axes: Mapping[str, Mapping[int, str]]


class RefusedError(Exception):
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
            RefusedError: PEFT does not do that, or what it made does not run in torch.
        """
        kind = peft.PEFT_TYPE_TO_CONFIG_MAPPING[self.type]
        words = self.type == PeftType.TRAINABLE_TOKENS or issubclass(
            kind, peft.PromptLearningConfig
        )
        if words and family.embedding is None:
            raise RefusedError("needs words, which images have not")
        try:
            return self._insert(family, family.targets)
        except RefusedError:
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
                told = str(error) if not isinstance(error, KeyError) else f"KeyError: {error}"
                raise RefusedError(told) from error
            for value in adapted.parameters():
                if value.requires_grad:
                    value.add_(self.noise * torch.randn_like(value))
            try:
                adapted(**given)
            except Exception as error:
                raise RefusedError(f"its forward fails: {error}") from error
        if adapted.get_nb_trainable_parameters()[0] == 0:
            raise RefusedError("skips every layer that was named")
        return Adapted(
            model=adapted,
            before=before,
            targets=targets,
            inputs=lambda rows, tokens: family.inputs(rows, tokens) | dict(self.inputs(rows)),
            axes={**family.axes, **self.axes},
        )


def each(**settings: object) -> Callable[[Family], Mapping[str, object]]:
    """Return a function that gives every family the same settings."""
    return lambda family: settings


def ia3(family: Family) -> Mapping[str, object]:
    return {
        "target_modules": [*family.targets, *family.feed_forward],
        "feedforward_modules": list(family.feed_forward),
    }


def norms(family: Family) -> Mapping[str, object]:
    return {"target_modules": list(family.norms)}


def shadow(family: Family) -> Mapping[str, object]:
    return {"r": 4, "target_modules": family.blocks}


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
    Kind(
        name="AdaLoRA", type=PeftType.ADALORA,
        settings=each(init_r=6, target_r=4, total_step=100),
    ),
    Kind(name="LoHa", type=PeftType.LOHA, settings=each(r=4, alpha=8)),
    Kind(name="LoKr", type=PeftType.LOKR, settings=each(r=4, alpha=8)),
    Kind(name="OFT", type=PeftType.OFT, settings=each(oft_block_size=16), noise=0.02),
    Kind(name="VeRA", type=PeftType.VERA, settings=each(r=8)),
    Kind(
        name="prompt tuning", type=PeftType.PROMPT_TUNING,
        settings=each(num_virtual_tokens=VIRTUAL),
    ),
    Kind(
        name="prefix tuning", type=PeftType.PREFIX_TUNING,
        settings=each(num_virtual_tokens=VIRTUAL),
    ),
    Kind(
        name="P-tuning", type=PeftType.P_TUNING,
        settings=each(num_virtual_tokens=VIRTUAL, encoder_hidden_size=WIDTH),
    ),
    Kind(name="AdaMSS", type=PeftType.ADAMSS, settings=each(r=8, num_subspaces=2)),
    Kind(
        name="adaption prompt", type=PeftType.ADAPTION_PROMPT,
        settings=each(adapter_len=4, adapter_layers=LAYERS, target_modules=None),
    ),
    Kind(name="BEFT", type=PeftType.BEFT),
    Kind(name="BOFT", type=PeftType.BOFT, settings=each(boft_block_size=4)),
    Kind(name="C3A", type=PeftType.C3A, settings=each(block_size=16)),
    Kind(name="Cartridge", type=PeftType.CARTRIDGE, settings=each(num_virtual_tokens=VIRTUAL)),
    Kind(
        name="CPT", type=PeftType.CPT,
        settings=each(
            cpt_token_ids=[3, 4, 5, 6], cpt_mask=[1, 1, 1, 1], cpt_tokens_type_mask=[1, 2, 3, 4],
        ),
    ),
    Kind(name="DEFT", type=PeftType.DEFT, settings=each(r=4)),
    Kind(name="DeLoRA", type=PeftType.DELORA, settings=each(r=4)),
    Kind(
        name="FourierFT", type=PeftType.FOURIERFT,
        settings=each(n_frequency=50, init_weights=True),
    ),
    Kind(name="FRoD", type=PeftType.FROD, settings=each(sparse_rate=0.05, progressbar=False)),
    Kind(name="GLoRA", type=PeftType.GLORA, settings=each(r=4)),
    Kind(name="GraLoRA", type=PeftType.GRALORA, settings=each(r=4, alpha=8)),
    Kind(name="HiRA", type=PeftType.HIRA, settings=each(r=4)),
    Kind(name="HRA", type=PeftType.HRA, settings=each(r=4)),
    Kind(name="Lily", type=PeftType.LILY, settings=each(r=4)),
    Kind(name="LN tuning", type=PeftType.LN_TUNING, settings=norms),
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
    Kind(name="RandLoRA", type=PeftType.RANDLORA, settings=each(r=4), noise=0.01),
    Kind(name="RoAd", type=PeftType.ROAD, settings=each(group_size=16)),
    Kind(name="Shadow", type=PeftType.SHADOW, settings=shadow),
    Kind(name="SHiRA", type=PeftType.SHIRA, settings=each(r=4)),
    Kind(name="Supertuning", type=PeftType.SUPERTUNING, settings=each(sparsity=0.9)),
    Kind(name="TinyLoRA", type=PeftType.TINYLORA, settings=each(r=2)),
    Kind(name="trainable tokens", type=PeftType.TRAINABLE_TOKENS, settings=tokens),
    Kind(name="Uni-LoRA", type=PeftType.UNILORA, settings=each(r=4)),
    Kind(
        name="VB-LoRA", type=PeftType.VBLORA,
        settings=each(r=4, num_vectors=32, vector_length=16),
    ),
    Kind(name="WaveFT", type=PeftType.WAVEFT, settings=each(n_frequency=50)),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
MAIN = tuple(KINDS)[:12]
"""The kinds that people use most."""
LEFT_OUT: dict[PeftType, str] = {
    PeftType.XLORA: "a gate over several LoRA adapters that were trained and saved before",
}
