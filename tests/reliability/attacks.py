"""T10: attacks with a canary. None may make it, open a socket, start a process or touch a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reliability import hostile_configs, hostile_files, planted, targets
from reliability.arena import Attack, Outcome, attempt
from reliability.figures import Figure

__all__ = ["alive", "all_attacks", "measure", "run"]

_TINY = (
    "+recipe=lora_bert", "model=random_bert", "data=jsonl", "data.train=rows.jsonl",
    "finetune.num_train_epochs=1", "visualize.open=never", "visualize.pictures=never",
    "visualize.weights=false",
)  # fmt: skip
_PROMISE = "no code runs, nothing outside the run is read or written, no secret is left"


def measure(size: int, folder: Path) -> list[Figure]:
    """Try the attacks; every n-th of them where `size` is smaller than their number.

    Args:
        size: Most attacks to try.
        folder: For their files.
    """
    attacks = all_attacks(folder / "good")
    step = max(1, -(-len(attacks) // size))
    figures = _figures(attacks[::step], folder / "tried")
    live = alive(targets.named()[::step], folder / "alive")
    note = f"{live[0]} of {live[1]} such names have an effect on hydra.utils.instantiate"
    return [
        figure if figure.what != _WHAT["_target_"] else _noted(figure, note) for figure in figures
    ]


_WHAT = {
    "_target_": "configs that name a class or function",
    "hydra": "settings of Hydra itself",
    "YAML": "hostile YAML files",
    "paths": "paths out of the folder",
    "files": "hostile models, adapters, checkpoints and graphs",
    "secrets": "secrets in environment, command line, YAML, data and errors",
}


def all_attacks(good: Path) -> list[Attack]:
    """Return every attack there is; `good` is for a model and an adapter that are whole."""
    base, adapter = _good(good)
    files = {each.name: each.read_bytes() for each in base.folder.iterdir() if each.is_file()}
    return [
        *targets.named(), *targets.placed(), *targets.smuggled(),
        *hostile_configs.at_hydra(), *hostile_configs.at_yaml(), *hostile_configs.at_paths(),
        *hostile_files.at_models(files), *hostile_files.at_adapters(base, adapter),
        *hostile_files.at_checkpoints(), *hostile_files.at_graphs(),
        *planted.planted(), planted.whole_run(_TINY),
    ]  # fmt: skip


def run(attacks: Sequence[Attack], folder: Path) -> list[str]:
    """Try attacks; return what each that succeeded did."""
    return [_told(each) for each in attempt(attacks, folder) if each.escaped]


def alive(attacks: Sequence[Attack], folder: Path) -> tuple[int, int]:
    """Give the same configs to `hydra.utils.instantiate`; count those that have an effect.

    Returns:
        How many do, and how many were tried: without the first number the second says little.
    """

    def instantiated(attack: Attack) -> Attack:
        def act(place: Path) -> None:
            import sys

            from hydra.utils import instantiate
            from omegaconf import OmegaConf

            sys.path.insert(0, str(place))
            instantiate(OmegaConf.load(place / "mine/adapter/evil.yaml"))

        return Attack(
            family=attack.family, name=attack.name, files=attack.files, prepare=attack.prepare,
            act=act,
        )  # fmt: skip

    outcomes = attempt([instantiated(each) for each in attacks], folder)
    bad = [each for each in outcomes if any(_is_effect(said) for said in each.escaped)]
    return len(bad), len(outcomes)


def _is_effect(said: str) -> bool:
    return said.startswith(("the canary", "did ", "changed "))


def _figures(attacks: Sequence[Attack], folder: Path) -> list[Figure]:
    figures = []
    for family, what in _WHAT.items():
        of_family = [each for each in attacks if each.family == family]
        started = time.monotonic()
        escaped = run(of_family, folder / family)
        figures.append(
            Figure(
                test="T10 security", tried=len(of_family), what=what, bad=len(escaped),
                promise=_PROMISE, seconds=time.monotonic() - started, notes=tuple(escaped),
            )
        )  # fmt: skip
    return figures


def _noted(figure: Figure, note: str) -> Figure:
    from dataclasses import replace

    return replace(figure, notes=(note, *figure.notes))


def _told(outcome: Outcome) -> str:
    return f"{outcome.attack.family}: {outcome.attack.name}: {'; '.join(outcome.escaped)}"


def _good(folder: Path) -> tuple[Any, Path]:
    """Return a tiny model with random weights, and an adapter for it."""
    from peft import LoraConfig, get_peft_model

    from pipeline.build import build_stage

    settings = {
        "_target_": "pipeline.model.FromConfig", "name": "good", "model_type": "bert", "seed": 0,
        "config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                   "intermediate_size": 32, "max_position_embeddings": 64},
        "task": "sequence_classification", "dropout": 0.0, "weights": "full",
    }  # fmt: skip
    stage: Any = build_stage("model", settings)
    model, adapter = folder / "model", folder / "adapter"
    model.mkdir(parents=True)
    base = stage.run(None, model)
    asked = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    get_peft_model(base.load(("a", "b")), asked).save_pretrained(adapter)
    return base, adapter
