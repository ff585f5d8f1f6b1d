"""What PEFT has no kind for: full fine-tuning, BitFit, the head alone, and bottleneck adapters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.errors import StageError
from pipeline.partial.places import PRESETS, check_pattern, matching
from pipeline.partial.settings import Activation, Kind, Settings

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BitFit", "Bottleneck", "Full", "HeadOnly"]

Given = tuple[BaseModel, Examples]


@dataclass(frozen=True, kw_only=True, slots=True)
class Full:
    """No adapter: every parameter trains."""

    seed: int

    def __post_init__(self) -> None:
        _check_seed(self.seed)

    def look(self, given: Given, folder: Path) -> AdaptedModel:
        """Do what `run` does: of a model without weights it needs none."""
        return self.run(given, folder)

    def run(self, given: Given, folder: Path) -> AdaptedModel:
        """Say what trains, and save the head as it starts; the rest stays where it lies."""
        return _run(given, folder, self.seed, Kind.NONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class BitFit:
    """Every bias trains, those of norms too, and a new head; all else is frozen.

    Source: Ben Zaken et al. 2022, "BitFit", section 3, https://arxiv.org/abs/2106.10199.
    """

    modules_to_save: tuple[str, ...] | None
    """Further modules to train in full; the head of the task always is."""
    seed: int

    def __post_init__(self) -> None:
        _check_seed(self.seed)

    def look(self, given: Given, folder: Path) -> AdaptedModel:
        """Do what `run` does: of a model without weights it needs none."""
        return self.run(given, folder)

    def run(self, given: Given, folder: Path) -> AdaptedModel:
        """Freeze all but the biases and the head, and save the head as it starts.

        Raises:
            StageError: The model has no bias, and no head of its own.
        """
        return _run(given, folder, self.seed, Kind.BITFIT, modules_to_save=self.modules_to_save)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadOnly:
    """The head of the task trains, on what the frozen body says of an example."""

    modules_to_save: tuple[str, ...] | None
    """Further modules to train in full."""
    seed: int

    def __post_init__(self) -> None:
        _check_seed(self.seed)

    def look(self, given: Given, folder: Path) -> AdaptedModel:
        """Do what `run` does: of a model without weights it needs none."""
        return self.run(given, folder)

    def run(self, given: Given, folder: Path) -> AdaptedModel:
        """Freeze all but the head, and save it as it starts.

        Raises:
            StageError: The model has no head with weights of its own: those of a language model
                are often tied to the embedding.
        """
        return _run(given, folder, self.seed, Kind.HEAD_ONLY, modules_to_save=self.modules_to_save)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bottleneck:
    """Small networks behind frozen layers: a layer that answered y answers `y + U f(D y)`.

    Source: Houlsby et al. 2019, https://arxiv.org/abs/1902.00751, section 2.1; Pfeiffer et al.
    2021, https://arxiv.org/abs/2005.00247.
    """

    target_modules: tuple[str, ...] | str
    """Ends of module names; or one regular expression for whole names; or `houlsby`, behind the
    attention and behind the feed-forward part of each block; or `pfeiffer`, behind the latter."""
    exclude_modules: tuple[str, ...] | str | None
    bottleneck_size: int | None
    """Units: rows of D and columns of U; None: what `reduction_factor` makes of each width."""
    reduction_factor: float | None
    """Outputs of a layer for each unit behind it, rounded down to 1 unit or more."""
    non_linearity: Activation
    init_std: float
    """Spread of the values that D and U start from, cut at twice that; biases start at zero."""
    modules_to_save: tuple[str, ...] | None
    """Modules to train in full; the head of the task always is."""
    seed: int

    def __post_init__(self) -> None:
        size, factor = self.bottleneck_size, self.reduction_factor
        if (size is None) == (factor is None):
            raise ValueError(
                f"bottleneck_size and reduction_factor: give one of them and null for the other, "
                f"got {size} and {factor}"
            )
        if size is not None and size < 1:
            raise ValueError(f"bottleneck_size must be a whole number of at least 1, got {size}")
        if factor is not None and not 1 <= factor < math.inf:
            raise ValueError(f"reduction_factor must be a finite number from 1, got {factor}")
        if self.non_linearity not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise ValueError(f"non_linearity must be one of {known}, got {self.non_linearity!r}")
        if not 0 < self.init_std < math.inf:
            raise ValueError(f"init_std must be a finite number above 0, got {self.init_std}")
        if not self.target_modules:
            raise ValueError("target_modules is empty; name the layers to put bottlenecks behind")
        for key in ("target_modules", "exclude_modules"):
            if isinstance(pattern := getattr(self, key), str):
                check_pattern(key, pattern)
        _check_seed(self.seed)

    def look(self, given: Given, folder: Path) -> AdaptedModel:
        """Do what `run` does: of a model without weights it needs none."""
        return self.run(given, folder)

    def run(self, given: Given, folder: Path) -> AdaptedModel:
        """Insert the bottlenecks, and save them as they start with the head.

        Raises:
            StageError: A target matches no module, or one that has no width, or the bottleneck is
                wider than a layer; the message lists what exists.
        """
        return _run(
            given,
            folder,
            self.seed,
            Kind.BOTTLENECK,
            modules_to_save=self.modules_to_save,
            target_modules=self.target_modules,
            exclude_modules=self.exclude_modules,
            bottleneck_size=self.bottleneck_size,
            reduction_factor=self.reduction_factor,
            non_linearity=self.non_linearity,
            init_std=self.init_std,
        )


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 4294967295, got {seed}")


def _run(given: Given, folder: Path, seed: int, kind: Kind, **more: Any) -> AdaptedModel:
    from pipeline.adapter.placement import place
    from pipeline.adapter.start import finish, opened
    from pipeline.partial.choice import head_of
    from pipeline.partial.model import insert

    start = opened(given, seed)
    # The head of a language model was pretrained with the rest, and trains only if it is asked to.
    head = start.head or (head_of(start.model) if kind == Kind.HEAD_ONLY else ())
    settings = Settings(peft_type=kind, head=head, **more)
    _check_names(start.model, settings)
    adapted = insert(start.model, settings)
    placement = place(adapted, start.before)
    _check_widths([(each.name, each.r) for each in placement.adapted], adapted.get_base_model())
    return finish(start, adapted, placement, folder)


def _check_names(model: nn.Module, settings: Settings) -> None:
    """Refuse a name that matches no module.

    Raises:
        StageError: Lists those that exist.
    """
    from pipeline.adapter.targets import check_adapted, check_names

    wanted, unwanted = settings.target_modules, settings.exclude_modules
    named = wanted if isinstance(wanted, tuple) or wanted not in PRESETS else ()
    check_names(model, named or (), unwanted, settings.modules_to_save)
    if wanted is None:
        return
    every = [name for name, _ in model.named_modules() if name]
    found = matching(every, wanted, unwanted)
    if not found:
        ends = sorted({name.rpartition(".")[2] for name in every} - set(map(str, range(10_000))))
        raise StageError(
            f"adapter.target_modules: {wanted!r} finds no layer of {type(model).__name__}; name "
            f"those to put bottlenecks behind. Modules end in: {', '.join(ends)}"
        )
    check_adapted(found, wanted, None, {})


def _check_widths(found: Sequence[tuple[str, int | None]], model: nn.Module) -> None:
    """Refuse a bottleneck that is wider than what goes through it.

    Raises:
        StageError: Names the layer and both numbers.
    """
    for name, units in found:
        width = model.get_parameter(f"{name}.bottleneck_up.default.bias").numel()
        if units is not None and units > width:
            raise StageError(
                f"adapter.bottleneck_size: {units} is more than {name} has outputs ({width})"
            )
