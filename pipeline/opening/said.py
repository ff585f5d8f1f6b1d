"""In a few honest lines what a file holds, and what it cannot show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from pipeline.opening.kinds import read_safetensors
from pipeline.opening.pickled import Held, Tensor
from pipeline.partial.settings import CONFIG, WEIGHTS, Kind, read_settings

__all__ = [
    "about_adapter",
    "about_pickle",
    "about_program",
    "about_tensors",
    "sized",
    "why_not_drawn",
]

_MOST = 30
"""Tensors, or modules, that are listed by name."""
_NO_GRAPH = "It has names and values and no graph: nothing in it says how the layers are connected."
_OF_ITS_BASE = (
    "It has no graph: it changes that of its base. A run draws the two: python -m pipeline"
)
_PARTIAL = {
    Kind.NONE: ("the weights of full fine-tuning", "none"),
    Kind.BITFIT: ("the biases of BitFit, and a head", "bitfit"),
    Kind.HEAD_ONLY: ("the head alone", "head_only"),
    Kind.BOTTLENECK: ("bottleneck adapters", "bottleneck"),
}
"""What each is, and its option of the group `adapter`."""
_ADAPTER = ("lora_", "hada_", "lokr_", "oft_", "boft_", "ia3_", "vera_", "prompt_embeddings")


def about_tensors(path: Path, tensors: Mapping[str, Tensor], what: str) -> list[str]:
    """Return lines on a file of weights alone."""
    lines = [f"{path}: {what}, {sized(path)}", *_listed(tensors)]
    if any(part in name for name in tensors for part in _ADAPTER):
        lines.append("By its names it is an adapter: of what and how, adapter_config.json says.")
    return lines


def about_pickle(path: Path, held: Held) -> list[str]:
    """Return lines on what `torch.save` wrote."""
    if held.kind == "state_dict":
        lines = about_tensors(path, held.tensors, "a state_dict")
        if held.beside:
            lines.insert(1, f"  beside the weights: {', '.join(held.beside[:8])}")
        return [*lines, *_warning(held)]
    if held.kind == "other":
        return [f"{path}: a pickle without weights by name, {sized(path)}", *_warning(held)]
    return [
        f"{path}: a whole module of the class {held.modules['']}, {sized(path)}",
        *_shortened(f"  {name or '(itself)'}  {kind}" for name, kind in held.modules.items()),
        *_listed(held.tensors),
        *_warning(held),
    ]


def about_program(path: Path, program: Mapping[str, Any]) -> list[str]:
    """Return lines on a `.pt2`."""
    counts = Counter(str(node[0]) for node in program["nodes"])
    tensors = {
        name: Tensor(tuple(told["shape"]), told["dtype"])
        for name, told in program["tensors"].items()
    }
    often = ", ".join(f"{count} {name}" for name, count in counts.most_common(6))
    return [
        f"{path}: an exported program, {sized(path)}",
        f"  images {tuple(program['image'])} in, {program['outputs']} outputs",
        f"  {sum(counts.values())} operators: {often}",
        *_listed(tensors),
        "It has graph and weights, and no code. Batch norm and dropout are as they were exported.",
    ]


def about_adapter(path: Path) -> list[str]:
    """Return lines on an adapter of PEFT, or on what trained where PEFT has no kind for it.

    Raises:
        StageError: A file is damaged.
    """
    folder = path if path.is_dir() else path.parent
    if path.name == CONFIG or not (folder / "adapter_config.json").is_file():
        return _about_partial(path, folder)
    file, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        kind = told["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"open: {file} is damaged or not there ({error})") from error
    shown = ("r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "task_type",
             "use_dora", "use_rslora")  # fmt: skip
    base = told.get("base_model_name_or_path") or "a model that it does not name"
    lines = [f"{path}: an adapter of PEFT, {kind}, of {base}"]
    lines += [
        f"  {key}: {_plain(told[key])}" for key in shown if told.get(key) not in (None, False)
    ]
    return [*lines, *_weights_in(weights), f"{_OF_ITS_BASE} +recipe=lora_bert finetune=none"]


def _about_partial(path: Path, folder: Path) -> list[str]:
    settings, more = read_settings(folder, "open")
    what, option = _PARTIAL[settings.peft_type]
    told = {**settings.to_dict(), **more}
    shown = ("head", "modules_to_save", "target_modules", "exclude_modules", "bottleneck_size",
             "reduction_factor", "non_linearity")  # fmt: skip
    base = told.get("base_model_name_or_path") or "a model that it does not name"
    start = "" if told.get("whole") else ", before any training"
    return [
        f"{path}: {what}{start}, of {base}; a format of this pipeline, which PEFT does not read",
        *(f"  {key}: {_plain(told[key])}" for key in shown if told.get(key)),
        *_weights_in(folder / WEIGHTS),
        f"{_OF_ITS_BASE} +recipe=lora_bert adapter={option} finetune=none",
    ]


def _weights_in(file: Path) -> list[str]:
    if file.is_file():
        return _listed(read_safetensors(file)[0])
    return [f"  without weights: there is no {file.name}"]


def why_not_drawn(path: Path, held: Held | None) -> list[str]:
    """Return why a file of weights has no picture, and what would make one.

    Args:
        path: The file.
        held: What is in it, if it is a pickle.
    """
    if held is None or held.kind != "module":
        return [
            _NO_GRAPH,
            "With the class or the config that it belongs to, its graph can be drawn:",
            f"  python -m pipeline open {path} class_path=my_net.Net allow_code=my_net",
            f"  python -m pipeline open {path} config=FOLDER_WITH_CONFIG_JSON",
        ]
    own = sorted({each for each in held.modules.values() if not each.startswith("torch.nn.")})
    root = held.modules[""].partition(".")[0]
    names = ", ".join(own) or "all of torch"
    return [
        f"It keeps the names of its classes ({names}), not their code, and has no graph.",
        "To load it runs their code, so it was not loaded. With consent, its graph can be drawn:",
        f"  python -m pipeline open {path} allow_code={root}",
    ]


def sized(path: Path) -> str:
    """Return the size of a file, such as `1.2 MB`."""
    size = float(path.stat().st_size)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _listed(tensors: Mapping[str, Tensor]) -> list[str]:
    kinds = Counter(each.dtype for each in tensors.values())
    total = sum(each.size for each in tensors.values())
    types = ", ".join(kinds) or "none"
    width = max((len(name) for name in list(tensors)[:_MOST]), default=0)
    return [
        f"  {len(tensors):,} tensors, {total:,} numbers, {types}",
        *_shortened(f"  {name:{width}}  {each.shape}" for name, each in tensors.items()),
    ]


def _shortened(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    more = len(every) - _MOST
    return every if more <= 1 else [*every[:_MOST], f"  ... and {more:,} more"]


def _warning(held: Held) -> list[str]:
    others = [
        name
        for name in held.asks_for
        if name not in held.modules.values() and not name.startswith("torch.")
    ]
    if not others:
        return []
    return [f"Loading it would also call {', '.join(others[:6])}; nothing of it was run."]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
