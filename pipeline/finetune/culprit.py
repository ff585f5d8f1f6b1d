"""Where the first number that is not finite comes from: the same micro-batches once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.finetune.gradients import homes

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from torch.utils.hooks import RemovableHandle

__all__ = ["Culprit", "find_culprit", "unfinite_weights"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Culprit:
    """What was not finite first."""

    what: str
    """`the output of bert.pooler`, `the gradient of classifier`, `the loss itself`."""
    micro_batch: int
    """Number of the micro-batch."""
    rows: tuple[int, ...] = ()
    """Places in the micro-batch, if only some of its rows are concerned."""


def find_culprit(
    model: PeftModel,
    micro_batches: Sequence[Mapping[str, Tensor]],
    loss_of: Callable[[Mapping[str, Tensor]], Tensor],
    *,
    backward: bool = True,
) -> Culprit | None:
    """Compute micro-batches again, in order, and stop at the first number that is not finite.

    Outputs are looked at in the order of the modules, then the loss, then gradients, in the order
    in which they come back. None: every number is finite this time.

    Args:
        model: Without wrappers for several processes: this is one process's own search. Its
            gradients are lost.
        micro_batches: As the loss takes them.
        loss_of: Computes one.
        backward: Whether to look at gradients.
    """
    model.zero_grad()
    for number, batch in enumerate(micro_batches):
        found: list[tuple[str, tuple[int, ...]]] = []
        rows = len(next(iter(batch.values())))
        with _watched(model, rows, found, gradients=backward), torch.set_grad_enabled(backward):
            loss = loss_of(batch)
            if not found and not loss.isfinite().all():
                found.append(("the loss itself", ()))
            if not found and backward:
                loss.sum().backward()  # type: ignore[no-untyped-call]  # torch has no types here
        if found:
            what, places = found[0]
            return Culprit(what=what, micro_batch=number, rows=places)
    return None


@contextmanager
def _watched(
    model: PeftModel, rows: int, found: list[tuple[str, tuple[int, ...]]], *, gradients: bool
) -> Iterator[None]:
    """Add to `found` whatever is not finite, as it comes."""
    handles: list[RemovableHandle] = []

    def look(what: str, value: Tensor) -> None:
        if not found and not (fine := value.detach().isfinite()).all():
            bad: list[int] = []
            if value.dim() and len(value) == rows:
                bad = (~fine.reshape(rows, -1).all(1)).nonzero().flatten().tolist()
            found.append((what, tuple(bad) if len(bad) < rows else ()))

    def forward(name: str, _: nn.Module, __: object, output: object) -> None:
        for value in _tensors(output):
            look(f"the output of {name}", value)
            if gradients and value.requires_grad:
                handle = value.register_hook(  # type: ignore[no-untyped-call]  # torch has no types here
                    partial(look, f"the gradient of {name}")
                )
                handles.append(handle)

    def accumulated(name: str, parameter: Tensor) -> None:
        if parameter.grad is not None and not found and not parameter.grad.isfinite().all():
            found.append((f"the gradient of {name}", ()))

    names = homes(model)
    for path, module in model.named_modules():
        handles.append(module.register_forward_hook(partial(forward, names[path])))
    for path, value in model.named_parameters():
        if gradients and value.requires_grad:
            name = names[path.rpartition(".")[0]]
            handles.append(value.register_post_accumulate_grad_hook(partial(accumulated, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)


def unfinite_weights(model: PeftModel) -> tuple[list[str], list[str]]:
    """Return the weights that are not finite: those of the base model, and those that train."""
    names = homes(model)
    base: list[str] = []
    trained: list[str] = []
    for path, value in model.named_parameters():
        if not value.isfinite().all():
            if value.requires_grad:
                trained.append(path.removeprefix("base_model.model."))
            else:
                module, _, name = path.rpartition(".")
                base.append(f"{names[module]}.{name}")
    return base, trained
