"""What a kind of adapter needs of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from pipeline.errors import MachineError

__all__ = ["check_machine", "check_rounds"]


def check_machine(values: Mapping[str, Any]) -> None:
    """Refuse a machine that cannot round weights to four bits, if the settings ask for that.

    Raises:
        MachineError: There is no GPU, or no package for it.
    """
    if values.get("init_lora_weights") != "loftq":
        return
    import torch

    setting = "adapter.init_lora_weights=loftq"
    if not torch.cuda.is_available():
        raise MachineError(
            f"{setting} rounds the base model on a GPU, and torch sees none here; choose another "
            "adapter, such as adapter=lora"
        )
    check_rounds()


def check_rounds() -> None:
    """Refuse a machine without the package that rounds weights.

    Raises:
        MachineError: It is missing.
    """
    if find_spec("bitsandbytes") is None:
        raise MachineError(
            "adapter: rounding the base model to four bits needs the package bitsandbytes; pip "
            "install bitsandbytes"
        )
