"""What trains, as data: kept beside the weights, as PEFT keeps its `adapter_config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import StageError

__all__ = ["CONFIG", "WEIGHTS", "Activation", "Kind", "Settings", "read_settings"]

CONFIG, WEIGHTS = "partial_config.json", "adapter_model.safetensors"
_FORMAT = "graft-pipeline partial 1"
"""PEFT has no format for this: no other program reads it."""

Activation = Literal["relu", "gelu", "silu", "tanh"]


class Kind(StrEnum):
    """What trains; beside it always what `Settings` names."""

    NONE = "none"
    """Everything: full fine-tuning, without an adapter."""
    BITFIT = "BITFIT"
    """Every bias. Source: Ben Zaken et al. 2022, "BitFit", https://arxiv.org/abs/2106.10199."""
    HEAD_ONLY = "HEAD_ONLY"
    BOTTLENECK = "BOTTLENECK"
    """Small networks behind layers: `pipeline.partial.bottleneck`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The part of `peft.PeftConfig` that the pipeline asks for, for kinds that PEFT has not."""

    peft_type: Kind
    head: tuple[str, ...]
    """Names of the modules that are new, and not in the files of the base model: they train."""
    modules_to_save: tuple[str, ...] | None = None
    """Ends of the names of further modules that train in full."""
    target_modules: tuple[str, ...] | str | None = None
    """Of bottlenecks: ends of names, one pattern for whole names, or a preset of
    `pipeline.partial.places`."""
    exclude_modules: tuple[str, ...] | str | None = None
    bottleneck_size: int | None = None
    """Units of each bottleneck; None: the width divided by `reduction_factor`."""
    reduction_factor: float | None = None
    non_linearity: Activation | None = None
    init_std: float | None = None
    """Spread of the values that bottlenecks start from."""

    def to_dict(self) -> dict[str, Any]:
        """Return what is set, as JSON can hold it."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in told.items()
        }

    def reason(self, name: str, trained: str) -> str | None:
        """Return why a module without an adapter trains; None if its name has to say.

        Args:
            name: Of the module.
            trained: Last part of the name of a parameter of it that trains.
        """
        for saved in self.modules_to_save or ():
            if f".{saved}." in f".{name}.":
                return f"modules_to_save: {saved}"
        if self.peft_type == Kind.NONE:
            return "adapter=none: everything trains"
        if self.peft_type == Kind.BITFIT and trained == "bias":
            return "bias"
        return "head of the task"

    def save(self, folder: Path, **more: object) -> None:
        """Write them to a folder, and beside them `more`."""
        told = {"format": _FORMAT, **self.to_dict(), **more}
        (folder / CONFIG).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path, stage: str = "adapter") -> tuple[Settings, Mapping[str, Any]]:
    """Return what `Settings.save` wrote: the settings, and what lies beside them.

    Args:
        folder: With the file.
        stage: Who reads it, for the message.

    Raises:
        StageError: It is damaged, or of another version of this format.
    """
    file = folder / CONFIG
    try:
        told = json.loads(file.read_bytes())
        if (found := told.pop("format")) != _FORMAT:
            raise StageError(f"{stage}: {file} has the format {found!r}; this reads {_FORMAT!r}")
        known = {each.name for each in fields(Settings)}
        given = {key: _frozen(value) for key, value in told.items() if key in known}
        settings = Settings(**given | {"peft_type": Kind(given["peft_type"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{stage}: {file} is damaged ({error}); make the adapter again") from error
    return settings, {key: value for key, value in told.items() if key not in known}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
