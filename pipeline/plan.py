"""`python -m pipeline plan`: what a run would do, and what it takes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.outlook import FLOAT, Outlook, disk_needed, foresee, look_in
from pipeline.record import earlier_parts

if TYPE_CHECKING:
    from pipeline.artifacts import AdaptedModel, Examples
    from pipeline.stage import Plan
    from pipeline.store import Store

__all__ = ["memory_needed", "tell"]

_ADAM = 3
"""A gradient and the two moments of AdamW, for each parameter that trains."""


def tell(plan: Plan, store: Store, latest: Path, *, reuse: bool) -> Iterator[str]:
    """Yield the lines that say what a run of `plan` would do. Writes nothing that stays.

    Raises:
        PipelineError: The run would end with this mistake.
    """
    for forecast in foresee(plan, store, earlier_parts(latest), reuse=reuse):
        yield f"{forecast.stage:<10} {'reused' if forecast.reused else 'runs  '}  {forecast.why}"
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        outlook = look_in(Path(folder), plan, store, reuse=reuse)
        if outlook.adapted is not None:
            yield ""
            yield from _adapter(outlook.adapted)
            yield from _cost(plan, outlook, outlook.adapted, store.root)


def _adapter(adapted: AdaptedModel) -> Iterator[str]:
    placement = adapted.placement
    carrying = [module for module in placement.modules if module.kind is not None]
    for (kind, r), group in groupby(
        sorted(carrying, key=lambda each: (str(each.kind), each.r or 0, each.name)),
        key=lambda each: (each.kind, each.r),
    ):
        names = [module.name for module in group]
        rank = "" if r is None else f" of rank {r}"
        yield f"{kind}{rank} in {len(names)} modules: {', '.join(_alike(names))}"
    share = adapted.trainable / adapted.total
    yield f"{adapted.trainable:,} of {adapted.total:,} parameters train ({share:.2%})"


def _alike(names: list[str]) -> list[str]:
    """Name modules that differ only in the number of their block once: `layer.0-5.query`."""
    found: dict[str, list[int]] = {}
    for name in names:
        words = name.split(".")
        place = next((place for place, word in enumerate(words) if word.isdecimal()), None)
        if place is None:
            found.setdefault(name, [])
            continue
        pattern = ".".join([*words[:place], "{}", *words[place + 1 :]])
        found.setdefault(pattern, []).append(int(words[place]))
    return [pattern.format(_ranges(sorted(numbers))) for pattern, numbers in found.items()]


def _ranges(numbers: list[int]) -> str:
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)


def _cost(plan: Plan, outlook: Outlook, adapted: AdaptedModel, root: Path) -> Iterator[str]:
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    disk = disk_needed(plan, outlook)
    if getattr(plan.finetune, "trains", True) and "finetune" not in outlook.reused:
        memory = memory_needed(plan, adapted, outlook.examples)
        yield f"about {_size(memory)} of memory to train, beside the libraries"
    yield f"about {_size(disk)} of disk for what is made anew; {_size(free)} free in {there}"


def memory_needed(plan: Plan, adapted: AdaptedModel, examples: Examples | None) -> int:
    """Return an estimate of the bytes that one process takes to train, without its libraries.

    Weights, gradients, AdamW's moments, and the activations of the largest micro-batch, which are
    counted for a plain transformer in float32 of which everything trains: an upper end.

    Source: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer
    Models", equation 1, twice for four bytes a number, https://arxiv.org/abs/2205.05198.
    """
    told = json.loads((adapted.base.folder / "config.json").read_bytes())
    hidden = _first(told, "hidden_size", "n_embd", "d_model")
    layers = _first(told, "num_hidden_layers", "n_layer", "num_layers")
    heads = _first(told, "num_attention_heads", "n_head", "num_heads")
    rows = getattr(plan.finetune, "per_device_train_batch_size", 1)
    longest = (examples.longest if examples else 0) or getattr(plan.data, "max_length", 0) or 512
    longest = _patches(told) or longest
    a_layer = 2 * longest * rows * (34 * hidden + 5 * heads * longest)
    return (adapted.total + _ADAM * adapted.trainable) * FLOAT + layers * a_layer


def _patches(told: dict[str, Any]) -> int:
    """Return into how many pieces a transformer cuts an image, and the one that stands for all."""
    side, piece = _first(told, "image_size"), _first(told, "patch_size")
    return (side // piece) ** 2 + 1 if side and piece else 0


def _first(told: dict[str, Any], *names: str) -> int:
    return next((int(told[name]) for name in names if isinstance(told.get(name), int)), 0)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
