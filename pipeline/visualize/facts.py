"""What is said of a model and its run, for people: from the graph, the results and the record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.visualize.modules import sums
from pipeline.visualize.pages import number, percent
from pipeline.visualize.settings import told as settings

if TYPE_CHECKING:
    from onnx import ModelProto

    from pipeline.placement import Placement

__all__ = ["Run", "figures", "read_run", "sentence"]

_LIBRARIES = ("torch", "transformers", "peft")
_SETTLED = ("model", "data", "adapter", "finetune", "export")
"""The stages whose settings decide what comes out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What the manifest of a run tells, without a path of the machine it ran on."""

    name: str
    started: str
    """`2026-11-23 07:54 UTC`."""
    libraries: str
    """`torch 2.13.0, peft 0.21.2`."""
    settings: Mapping[str, str]
    """`adapter`, its class, `adapter.r` and the like, in the order of the stages."""
    facts: Mapping[str, Any]
    """What the stage finetune said of its result."""


def read_run(stage: Path) -> Run | None:
    """Return what the manifest beside the folder of a stage says; None when there is none."""
    try:
        told = json.loads((stage.parent / "manifest.json").read_bytes())
        stages = {each["stage"]: each for each in told["stages"]}
        return Run(
            name=str(told["name"]),
            started=f"{told['started'][:16].replace('T', ' ')} UTC",
            libraries=", ".join(
                f"{name} {told['versions'][name]}"
                for name in _LIBRARIES
                if name in told["versions"]
            ),
            settings={
                key: value
                for stage in _SETTLED
                if stage in stages
                for key, value in settings(stages[stage])
            },
            facts=stages.get("finetune", {}).get("facts", {}),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # a folder that was copied elsewhere
        return None


def figures(
    placement: Placement, tests: Mapping[str, float], run: Run | None
) -> list[tuple[str, str, str]]:
    """Return the few numbers that matter: a name, the number, and what to know about it."""
    model = sums(placement)[""]
    total = placement.trainable + placement.frozen
    found = [
        (
            "trainable",
            number(placement.trainable),
            f"of {number(total)} parameters, {percent(placement.trainable, total)}",
        ),
        ("adapters", number(model.adapters), _kinds(placement)),
    ]
    if model.flops is not None:
        more = model.adapter_flops or 0
        found.append((
            "FLOPs",
            number(model.flops, "G"),
            f"and {number(more, 'G')} by the adapters, {percent(more, model.flops)}"
            + (f"; per {placement.flops_per}" if placement.flops_per else ""),
        ))  # fmt: skip
    if model.update_norm is not None:
        found.append(("update", f"{model.update_norm:.3g}", "norm of all that training added"))
    if tests:
        first, *rest = sorted(tests.items())
        also = ", ".join(f"{name} {value:.4g}" for name, value in rest)
        found.append((f"test {first[0]}", f"{first[1]:.4g}", also or "on the test split"))
    facts = run.facts if run is not None else {}
    if facts.get("steps") == 0:
        found.append(("training", "not trained", "the adapters are as they start"))
    if facts.get("metric") and facts.get("best_metric") is not None:
        found.append((
            f"validation {facts['metric']}",
            f"{facts['best_metric']:.4g}",
            f"at step {facts['best_step']:,} of {facts['steps']:,}",
        ))  # fmt: skip
    return found


def _kinds(placement: Placement) -> str:
    """Return what the adapters are: `LORA, r = 8, alpha = 16`."""
    kinds = sorted({each.kind for each in placement.adapted if each.kind is not None})
    parts = [" and ".join(kinds) or placement.kind]
    numbers: dict[str, list[float | None]] = {
        "r": [each.r for each in placement.adapted],
        "alpha": [each.lora_alpha for each in placement.adapted],
    }
    for name, values in numbers.items():
        if told := [value for value in values if value is not None]:
            least, most = min(told), max(told)
            parts.append(f"{name} = {least:g}" + (f" to {most:g}" if most > least else ""))
    return ", ".join(parts)


def sentence(model: ModelProto, placement: Placement, run: Run | None) -> str:
    """Return what there is in one line: base, targets, run, versions."""
    facts = {entry.key: entry.value for entry in model.metadata_props}
    parts = []
    if base := facts.get("base_model"):
        parts.append(f"base {base}")
    if targets := facts.get("peft.target_modules") or _targets(placement):
        parts.append(f"targets {targets}")
    if run is not None:
        parts += [f"run {run.name}, {run.started}", run.libraries]
    return " · ".join(part for part in parts if part)


def _targets(placement: Placement) -> str:
    return ", ".join(sorted({each.name.rpartition(".")[2] for each in placement.adapted}))
