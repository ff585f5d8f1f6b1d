"""Files that we write and read again, damaged, and what reads them."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from reliability.words import damaged

__all__ = ["broken_files"]

_WORDS: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    "",
    "x",
    [],
    {},
    [1],
    {"a": 1},
    "../../x",
    "\ud800",
    "é" * 999,
)


def broken_files(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    """Damage one kind of file in `place`; return what was done and what reads it."""
    kinds = (_seal, _entry, _manifest, _view, _model_config, _weights, _adapter, _job)
    return chance.choice(kinds)(chance, place)


def _altered(told: Any, chance: random.Random) -> bytes:
    """Return JSON with one value replaced somewhere, or with its bytes damaged."""
    if chance.random() < 0.5:
        return damaged(json.dumps(told).encode(), chance)
    told = json.loads(json.dumps(told))
    node = told
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key: Any = chance.choice(keys)
        if not isinstance(node[key], dict | list) or not node[key] or chance.random() < 0.3:
            if isinstance(node, dict) and chance.random() < 0.3:
                del node[key]
            else:
                node[key] = chance.choice(_WORDS)
            break
        node = node[key]
    return json.dumps(told).encode()


def _said(content: bytes) -> str:
    return repr(content)[:1500]


def _seal(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    from pipeline import seal

    folder = _sealed(place)
    content = _altered(json.loads((folder / "seal.json").read_bytes()), chance)
    (folder / "seal.json").write_bytes(content)

    def read() -> None:
        flaw = seal.flaw(folder)
        try:
            seal.told(folder)
        except (OSError, ValueError):
            assert flaw is not None

    return f"seal {_said(content)}", read


def _entry(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    from pipeline.store import Store

    folder = _sealed(place, "store/model/0123456789abcdef")
    content = _altered(json.loads((folder / "seal.json").read_bytes()), chance)
    (folder / "seal.json").write_bytes(content)
    return f"entry {_said(content)}", lambda: Store(place / "store").find("model", folder.name)


def _sealed(place: Path, name: str = "sealed") -> Path:
    from pipeline import seal

    folder = place / name
    (folder / "made").mkdir(parents=True)
    (folder / "made/weights.bin").write_bytes(b"weights")
    (folder / "made/config.json").write_text("{}")
    seal.seal(folder, {"stage": "model", "digest": "0" * 64, "made": {"folder": "x"}})
    return folder


_MANIFEST: dict[str, Any] = {
    "format": 2, "name": "x", "seed": 0, "status": "done", "started": "2026-11-23T08:00:00+00:00",
    "plan": {"model": {"by": "pipeline.model.Hub", "settings": {"repo_id": "a/b"}}},
    "process": {"pid": 1, "host": "x"}, "versions": {"python": "3.11", "torch": "2.13"},
    "git_commit": None, "stages": [
        {"stage": "model", "by": "pipeline.model.Hub", "settings": {"repo_id": "a/b"},
         "parts": {"settings": {"r": 8}, "inputs": {}}, "facts": {"steps": 3}, "status": "done"},
    ],
}  # fmt: skip


def _manifest(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    from pipeline.check import check
    from pipeline.record import assert_goes_on, earlier_parts

    content = _altered(_MANIFEST, chance)
    (place / "manifest.json").write_bytes(content)
    plan = check(["+recipe=lora_bert"]).plan
    assert plan is not None

    def read() -> None:
        earlier_parts(place)
        assert_goes_on(place, plan)

    return f"manifest {_said(content)}", read


def _view(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    from pipeline.visualize import find_view
    from pipeline.visualize.facts import read_run

    content = _altered(_MANIFEST, chance)
    folder = place / "6_visualize"
    (folder / "models").mkdir(parents=True)
    (place / "manifest.json").write_bytes(content)
    (folder / "index.html").touch()
    graph = damaged(b"\x08\x0a:\x05\n\x03abc" * 3, chance)
    (folder / "models/adapted.onnx").write_bytes(graph)

    def read() -> None:
        read_run(folder)
        find_view(place)

    return f"view {_said(content)} {graph!r}", read


def _model_config(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    config = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 260,
              "num_attention_heads": 2, "intermediate_size": 32, "architectures": ["BertModel"],
              "id2label": {"0": "a", "1": "b"}, "max_position_embeddings": 64}  # fmt: skip
    content = _altered(config, chance)
    (place / "config.json").write_bytes(content)
    (place / "model.safetensors").write_bytes(_header(b"{}"))
    return f"config {_said(content)}", lambda: _look(place)


def _weights(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    header = {"embeddings.word_embeddings.weight": {
        "dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}}  # fmt: skip
    content = _header(
        _altered(header, chance), 0 if chance.random() < 0.7 else chance.randint(-9, 9)
    )
    content = damaged(content, chance) if chance.random() < 0.3 else content
    (place / "config.json").write_text('{"model_type": "bert"}')
    (place / "model.safetensors").write_bytes(content)
    return f"weights {_said(content)}", lambda: _look(place)


def _header(header: bytes, off: int = 0) -> bytes:
    return struct.pack("<Q", max(0, len(header) + off)) + header + b"\0" * 64


def _look(place: Path) -> None:
    from pipeline.build import build_stage

    settings = {"_target_": "pipeline.model.Local", "path": str(place), "dropout": None,
                "task": "sequence_classification", "weights": "full",
                "allow_pickle": False}  # fmt: skip
    stage: Any = build_stage("model", settings)
    made = place / "made"
    made.mkdir()
    stage.run(None, made).load(("a", "b"))


def _adapter(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"],
              "task_type": "SEQ_CLS", "bias": "none", "inference_mode": True,
              "base_model_name_or_path": None, "rank_pattern": {},
              "modules_to_save": None}  # fmt: skip
    content = _altered(config, chance)
    weights = _header(_altered({}, chance))
    (place / "adapter_config.json").write_bytes(content)
    (place / "adapter_model.safetensors").write_bytes(weights)
    return f"adapter {_said(content)} {weights!r}", lambda: _base().load_adapter(("a", "b"), place)


@cache
def _base() -> Any:
    """Return a model of one layer, width 32, with random weights."""
    import tempfile

    from pipeline.build import build_stage

    settings = {
        "_target_": "pipeline.model.FromConfig", "name": "x", "model_type": "bert", "seed": 0,
        "config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                   "intermediate_size": 32, "max_position_embeddings": 64},
        "task": "sequence_classification", "dropout": 0.0, "weights": "full",
    }  # fmt: skip
    stage: Any = build_stage("model", settings)
    return stage.run(None, Path(tempfile.mkdtemp(prefix="fuzzed-")))


def _job(chance: random.Random, place: Path) -> tuple[str, Callable[[], object]]:
    from pipeline.placement import Placement  # noqa: F401 - what it reads is checked here
    from pipeline.visualize.modules import read_placement

    told = {"kind": "LoRA", "modules": [{"name": "a", "kind": "Linear", "role": "base"}]}
    content = _altered(told, chance)
    (place / "placement.json").write_bytes(content)
    return f"placement {_said(content)}", lambda: read_placement(place / "placement.json")
