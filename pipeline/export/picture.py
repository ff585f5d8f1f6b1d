"""The pictures of a run: the base model and the adapted one, the same modules under one name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.export.graph import Irregular, fold, gather, lengthen, shorten, trace
from pipeline.export.graph.folding.tree import base_name
from pipeline.placement import Module, Placement

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import Tensor, nn

    from pipeline.export.graph.tracing.costs import Operations

__all__ = ["Architecture", "bare", "operations", "with_operations"]

log = logging.getLogger(__name__)


class Architecture:
    """A model without values, drawn in a time that hardly grows with its depth."""

    def __init__(
        self,
        model: nn.Module,
        sample: Mapping[str, Tensor],
        axes: Mapping[str, Mapping[int, str]],
        *,
        opset: int,
    ) -> None:
        """Trace a model of which repeated blocks run twice.

        Args:
            model: On the meta device, in eval mode.
            sample: An example of its inputs.
            axes: Names of their free axes.
            opset: Version of the ONNX operators.
        """
        self._model = model
        self._axes = axes
        self._opset = opset
        self._sample = {name: value.to("meta") for name, value in sample.items()}
        try:
            with shorten(model, self._sample) as plan:
                flat = self._trace()
        except Exception:  # a model may count its blocks in its own way
            log.debug("traced whole", exc_info=True)
            self._flat, self._plan = self._trace(), None
        else:
            plan.rename(flat)
            self._flat, self._plan = flat, plan

    @property
    def operations(self) -> Mapping[str, float]:
        """What each module costs, by its name in the base model."""
        return operations(self._flat)

    @property
    def per(self) -> str:
        """What the operations are counted for."""
        counted: Operations = self._flat.graph.meta["graft.operations"]
        return counted.per

    def view(self, placement: Placement, *, title: str, facts: Mapping[str, str]) -> ir.Model:
        """Return the folded graph of the whole model, as `fold` of a whole trace would make it."""
        view = fold(self._flat, placement, title=title, facts=facts)
        try:
            if self._plan is not None:
                lengthen(view, self._plan)
        except Irregular as error:
            log.debug("traced whole: %s", error)
            view = fold(self._trace(), placement, title=title, facts=facts)
        gather(view)
        return view

    def _trace(self) -> ir.Model:
        return trace(self._model, self._sample, self._axes, opset=self._opset)


def operations(flat: ir.Model) -> Mapping[str, float]:
    """Return what each module of a traced model costs, by its name in the base model."""
    counted: Operations = flat.graph.meta["graft.operations"]
    found: dict[str, float] = {}
    for path, cost in counted.by_module.items():
        name = base_name(path, flat.graph.meta["graft.home"])
        found[name] = found.get(name, 0) + cost
    return found


def with_operations(
    placement: Placement, without: Mapping[str, float], adapted: Mapping[str, float], per: str
) -> Placement:
    """Return the placement with what each module costs, and what its adapter adds.

    Args:
        placement: Of the adapted model.
        without: The operations of the base model, by module.
        adapted: Those of the adapted one.
        per: What they are counted for.
    """
    known = [module.name for module in placement.modules]
    before, after = _of_modules(without, known), _of_modules(adapted, known)

    def costed(module: Module) -> Module:
        flops = round(before.get(module.name, 0))
        added = round(after.get(module.name, 0)) - flops
        return replace(
            module,
            flops=flops,
            adapter_flops=added if added or module.role == "adapted" else None,
        )

    return replace(placement, modules=tuple(map(costed, placement.modules)), flops_per=per)


def _of_modules(costs: Mapping[str, float], known: Sequence[str]) -> dict[str, float]:
    """Sum up by the nearest module that the placement lists: an adapter's parts are in its layer.

    What no listed module holds is the model's own, and counted for its first part: the sum holds.
    """
    found: dict[str, float] = {}
    listed = set(known)
    for path, cost in costs.items():
        name = path
        while name and name not in listed:
            name = name.rpartition(".")[0]
        name = name or next(iter(known), "")
        found[name] = found.get(name, 0) + cost
    return found


def bare(model: nn.Module, costs: Mapping[str, float], per: str) -> Placement:
    """Return the placement of a model without adapters: nothing adapted, nothing trained.

    Args:
        model: The base model.
        costs: The operations of its modules.
        per: What they are counted for.
    """
    names = [name for name, _ in model.named_modules() if name]
    flops = _of_modules(costs, names)
    counted: set[int] = set()
    modules = []
    for name in names:
        module = model.get_submodule(name)
        own = [value for value in module.parameters(recurse=False) if id(value) not in counted]
        counted.update(map(id, own))
        modules.append(
            Module(
                name=name,
                type=type(module).__name__,
                role="frozen",
                why="base model",
                frozen=sum(value.numel() for value in own),
                flops=round(flops.get(name, 0)),
            )
        )
    return Placement(
        kind="none",
        modules=tuple(modules),
        frozen=sum(value.numel() for value in model.parameters()),
        trainable=0,
        flops_per=per,
    )
