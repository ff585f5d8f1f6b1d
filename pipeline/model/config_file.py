"""What `config.json` of a model says, before a library believes it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, nearest

__all__ = ["check_fields", "check_model_type", "read_config"]

_ATTENTION = ("eager", "sdpa", "flash_attention_2")
_KERNELS = ("attn_implementation", "experts_implementation")
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
           "decoder_layers", "num_decoder_layers")  # fmt: skip
_MOST_BLOCKS = 1000
"""The deepest of 2026 have some 130; a million would be built for hours."""
_NOT_OURS = {
    "adapter_config.json": "is an adapter, not a model: it has adapter_config.json; give the "
    "folder of its base model, or of the two merged",
    "model_index.json": "is a pipeline of diffusers, not a language model",
}
_OTHER_FORMATS = ("*.gguf", "tf_model.h5", "flax_model.msgpack", "*.onnx")


def read_config(source: Path) -> dict[str, Any]:
    """Return `config.json` of a folder; imports no library.

    Raises:
        StageError: There is no such folder or file, it is damaged, or it would run code of its
            author.
    """
    try:
        if not source.is_dir():
            if source.is_symlink() and not source.exists():
                raise StageError(f"model.path: {source} is a link to nothing")
            if source.exists():
                raise StageError(
                    f"model.path: {source} is a file; expected a folder with config.json"
                )
            raise StageError(f"model.path: no such folder: {source}{_near(source)}")
        for name, says in _NOT_OURS.items():
            if (source / name).exists():
                raise StageError(f"model.path: {source} {says}")
        file = source / "config.json"
        if not file.is_file():
            raise StageError(f"model.path: {source} has no config.json{_instead(source)}")
        fields = read_json(file)
    except OSError as error:
        raise StageError(f"model.path: cannot read {source}: {error.strerror}") from error
    check_fields(fields, f"model: {file}")
    return fields


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        StageError: It holds something else; the message has the line.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StageError(
            f"model: {file} line {error.lineno}: not valid JSON: {error.msg}; get it again"
        ) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise StageError(f"model: {file} is not valid JSON: {error}; get it again") from error
    if not isinstance(found, dict):
        raise StageError(f"model: {file} holds a {type(found).__name__}, not an object {{...}}")
    return found


def check_fields(fields: Mapping[str, Any], where: str) -> None:
    """Refuse what would run code, or build for hours.

    Raises:
        StageError: Starts with `where`.
    """
    if "auto_map" in fields:
        raise StageError(
            f"{where} asks to run Python code that comes with the model (auto_map); "
            "that is never done here. Choose a model that transformers itself knows"
        )
    if weights := fields.get("transformers_weights"):
        raise StageError(
            f"{where} names a file of weights of its own (transformers_weights: {weights}); "
            "remove that line, and name the file model.safetensors"
        )
    if fields.get("quantization_config") is not None:
        raise StageError(
            f"{where} is of compressed weights (quantization_config), which cannot be "
            "fine-tuned here; choose the model in full precision"
        )
    for key, value in _everywhere(fields):
        if key.lstrip("_").removesuffix("_internal") in _KERNELS:
            _check_kernel(key, value, where)
        if key in _BLOCKS and isinstance(value, int) and not 1 <= value <= _MOST_BLOCKS:
            limit = "less than one block" if value < 1 else f"more than {_MOST_BLOCKS:,} blocks"
            raise StageError(f"{where}: {key} {value} is {limit}, which no model has")


def _check_kernel(key: str, value: object, where: str) -> None:
    for name in value.values() if isinstance(value, Mapping) else [value]:
        if name is None:
            continue
        if name not in _ATTENTION:
            what = "kernel" if "experts" in key else "attention kernel"
            raise StageError(
                f"{where} asks for the {what} {name!r} ({key}); only "
                f"{', '.join(_ATTENTION)} are allowed{nearest(str(name), _ATTENTION)}"
            )
        if name == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
            raise StageError(
                f"{where} asks for {name} ({key}), which needs the package flash-attn; "
                "install it, or write sdpa there"
            )


def check_model_type(name: object, where: str) -> None:
    """Refuse a type that the installed transformers does not know.

    Raises:
        StageError: Starts with `where`; has the nearest type and the version.
    """
    import transformers

    if name is None:
        raise StageError(f"{where} has no model_type, such as bert; get it again")
    known = transformers.CONFIG_MAPPING
    if not isinstance(name, str) or name not in known:
        near = nearest(name, known) if isinstance(name, str) else ""
        raise StageError(
            f"{where}: transformers {transformers.__version__} has no model type {name!r}{near}"
        )


def _everywhere(fields: object) -> Iterator[tuple[str, object]]:
    """Give each key and value, of the inner configs too."""
    if isinstance(fields, Mapping):
        for key, value in fields.items():
            yield str(key), value
            yield from _everywhere(value)
    elif isinstance(fields, list):
        for each in fields:
            yield from _everywhere(each)


def _near(source: Path) -> str:
    if not source.parent.is_dir():
        return f"; nor is there a folder {source.parent}"
    return nearest(source.name, [entry.name for entry in source.parent.iterdir()])


def _instead(source: Path) -> str:
    """Say what there is: a model inside, or one in another format."""
    inside = sorted(file.parent.name for file in source.glob("*/config.json"))
    if inside:
        return f"; perhaps {source / inside[0]}"
    others = [file.name for pattern in _OTHER_FORMATS for file in source.glob(pattern)]
    return f"; {others[0]} is of another format than that of transformers" if others else ""
