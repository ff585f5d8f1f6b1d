"""Weights, optimizer, schedule and loss scale of a training, to files and back, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.amp import GradScaler
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["Tensors"]

_PARAMETERS, _BUFFERS, _OPTIMIZER = (
    "parameters.safetensors", "buffers.safetensors", "optimizer.safetensors",
)  # fmt: skip


class Tensors:
    """What a training changes as it goes."""

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LRScheduler,
        scaler: GradScaler | None,
    ) -> None:
        """Take the live objects; `model` without wrappers for several processes."""
        self._model, self._optimizer = model, optimizer
        self._schedule, self._scaler = schedule, scaler

    @property
    def size(self) -> int:
        """Bytes that `save` writes, about."""
        every = [*self._parameters().values(), *self._buffers().values(), *self._moments().values()]
        return sum(value.nbytes for value in every)

    def save(self, folder: Path) -> None:
        """Write safetensors files, by the names of the parameters and in their own types."""
        _save(self._parameters(), folder / _PARAMETERS)
        _save(self._buffers(), folder / _BUFFERS)
        _save(self._moments(), folder / _OPTIMIZER)

    def numbers(self) -> dict[str, Any]:
        """Return the rest, which JSON holds to the bit."""
        state = {
            f"{key}/{name}": value
            for name, key, value in self._state()
            if not isinstance(value, torch.Tensor)
        }
        return {
            "groups": [_plain(group) for group in self._optimizer.param_groups],
            "state": state,
            "schedule": _plain(self._schedule.state_dict()),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }

    @torch.no_grad()
    def load(self, folder: Path, numbers: Mapping[str, Any]) -> None:
        """Make everything as it was when `save` and `numbers` were called."""
        _copy(load_file(folder / _PARAMETERS), self._parameters())
        _copy(load_file(folder / _BUFFERS), self._buffers())
        found = {**load_file(folder / _OPTIMIZER), **numbers["state"]}
        places = {name: place for place, name in enumerate(self._names_in_order())}
        state: dict[int, dict[str, Any]] = {}
        for path, value in found.items():
            key, _, name = path.partition("/")
            state.setdefault(places[name], {})[key] = value
        now = self._optimizer.state_dict()["param_groups"]
        groups = [group | then for group, then in zip(now, numbers["groups"], strict=True)]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._schedule.load_state_dict({**self._schedule.state_dict(), **numbers["schedule"]})
        if self._scaler is not None:
            self._scaler.load_state_dict(numbers["scaler"])

    def _parameters(self) -> dict[str, Tensor]:
        return {n: value for n, value in self._model.named_parameters() if value.requires_grad}

    def _buffers(self) -> dict[str, Tensor]:
        kept = self._model.state_dict().keys()
        return {name: value for name, value in self._model.named_buffers() if name in kept}

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{key}/{name}": value
            for name, key, value in self._state()
            if isinstance(value, torch.Tensor)
        }

    def _state(self) -> Iterator[tuple[str, str, Any]]:
        """Yield parameter, key and value of what the optimizer remembers."""
        names = {value: name for name, value in self._parameters().items()}
        for parameter, remembered in self._optimizer.state.items():
            for key, value in remembered.items():
                yield names[parameter], key, value

    def _names_in_order(self) -> list[str]:
        """Return the names of the parameters in the order in which the optimizer counts them."""
        names = {value: name for name, value in self._parameters().items()}
        return [names[each] for group in self._optimizer.param_groups for each in group["params"]]


def _save(tensors: Mapping[str, Tensor], file: Path) -> None:
    # A copy each: safetensors refuses tensors that share memory, or have gaps.
    copies = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    save_file(copies, file)


def _copy(saved: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> None:
    assert saved.keys() == live.keys(), "a checkpoint of another model"
    for name, value in live.items():
        value.copy_(saved[name])


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers, and lists of numbers: what else there is follows from the settings."""
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, int | float)
        or (isinstance(value, list) and all(isinstance(item, int | float) for item in value))
    }
