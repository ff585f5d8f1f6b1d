"""Any `nn.Module` as a model that transformers saves, loads, adapts and trains as its own.

A class comes by its path, with the user's consent; an exported program (`.pt2`) comes as data.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["MODEL_TYPE", "make_known", "register"]

MODEL_TYPE = "own_module"
"""As `config.json` names it."""


def make_known(folder: Path) -> None:
    """Call `register` if the `config.json` in a folder is of such a model: it imports torch."""
    file = folder / "config.json"
    if file.is_file() and f'"{MODEL_TYPE}"' in file.read_text(encoding="utf-8", errors="replace"):
        register()


@cache
def register() -> None:
    """Let transformers find these models by their `config.json`; runs no code of a user's."""
    from transformers import AutoConfig, AutoModelForImageClassification

    from pipeline.own.config import OwnConfig
    from pipeline.own.model import OwnModel

    AutoConfig.register(MODEL_TYPE, OwnConfig)
    AutoModelForImageClassification.register(OwnConfig, OwnModel)
