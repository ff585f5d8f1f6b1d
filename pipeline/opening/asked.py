"""What `open FILE` is asked: the file, and what may be said beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, among
from pipeline.partial.settings import CONFIG

__all__ = ["ADAPTERS", "SUFFIXES", "Asked", "is_model"]

ADAPTERS = ("adapter_config.json", CONFIG)
"""What says that a folder holds an adapter of PEFT, or one that PEFT has no kind for."""
SUFFIXES = (".pth", ".pt", ".pt2", ".bin", ".ckpt", ".safetensors", ".onnx")
_KEYS = ("class_path", "kwargs", "image_size", "num_channels", "config")
_USAGE = (
    "open: takes a file, and after it class_path=my_net.Net allow_code=my_net, or config=FOLDER, "
    "and a port up to 65535"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A file to open, or a folder of transformers or PEFT."""

    path: Path
    class_path: str | None = None
    """Of the class that the weights belong to: `my_net.Net`."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """What the class is called with."""
    image_size: int = 28
    """Height and width of the images that it takes."""
    num_channels: int = 1
    config: Path | None = None
    """A folder with the `config.json` of the model."""
    port: int = 0

    @staticmethod
    def read(arguments: Sequence[str]) -> Asked:
        """Read the command line, without `allow_code`.

        Raises:
            ConfigError: It is not what `open` takes.
        """
        path, *others = arguments
        given: dict[str, Any] = {}
        for each in others:
            key, equals, value = each.partition("=")
            if not equals and each.isdecimal() and int(each) <= 65535:
                given["port"] = int(each)
            elif not equals:
                raise ConfigError(f"{_USAGE}; got {each!r}")
            elif key not in _KEYS:
                raise ConfigError(f"open: unknown key {key!r}{among(key, _KEYS, 'Known keys')}")
            else:
                given[key] = _value(key, value)
        if "class_path" in given and "config" in given:
            raise ConfigError("open: give class_path or config, not both: each says all of a model")
        return Asked(path=Path(path), **given)


def is_model(path: Path) -> bool:
    """Whether a path is one of a model, and not a run or a part of one."""
    if os.path.isdir(path):  # noqa: PTH112 - a name may be too long for any file, and is then none
        run = (path / "manifest.json").exists() or (path / "index.html").exists()
        known = any((path / name).is_file() for name in ("config.json", *ADAPTERS))
        return known and not run
    is_file = os.path.isfile(path)  # noqa: PTH113
    return path.name != "manifest.json" and (is_file or path.suffix in SUFFIXES)


def _value(key: str, value: str) -> Any:
    if key in ("image_size", "num_channels"):
        if not (value.isdecimal() and 0 < int(value) <= 4096):
            raise ConfigError(f"open: {key} must be a whole number from 1 to 4096, got {value!r}")
        return int(value)
    if key == "kwargs":
        try:
            held = json.loads(value)
        except ValueError as error:
            raise ConfigError(f"open: kwargs is not JSON ({error}), got {value!r}") from error
        if not isinstance(held, dict):
            raise ConfigError(
                f'open: kwargs must be an object, such as {{"width": 8}}, got {value}'
            )
        return held
    return Path(value) if key == "config" else value
