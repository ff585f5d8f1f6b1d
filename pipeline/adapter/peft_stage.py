"""What every kind of adapter that PEFT has does as a stage of ours."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from pipeline.adapter.ranges import problems
from pipeline.artifacts import AdaptedModel, BaseModel, Examples

__all__ = ["PeftStage"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PeftStage:
    """Puts an adapter into a model: `config` says which, the fields of a subclass are its fields.

    A field is left as PEFT calls it, and given to PEFT as it is. `target_modules` and the like may
    also be a preset, see `pipeline.adapter.presets`.
    """

    config: ClassVar[str]
    """Name of PEFT's config, in the package `peft`."""
    ours: ClassVar[tuple[str, ...]] = ("seed",)
    """Fields that are not PEFT's."""
    seed: int
    """Of what starts at random: the adapter, and a new head."""

    def __post_init__(self) -> None:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if wrong := list(problems(self.config, values)):
            raise ValueError("\n".join(wrong))

    def look(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Do what `run` does: of a model without weights it needs none."""
        return self.run(given, folder)

    def run(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Insert the adapters, and save them as they start with their placement.

        Raises:
            StageError: A target matches no module, or one that cannot carry this adapter, or a
                size exceeds a layer's width; the message lists what exists. Or the head would
                stay frozen.
            MachineError: It needs a GPU, and there is none.
        """
        from pipeline.adapter.insert import check_result, inserted, resolved
        from pipeline.adapter.machine import check_machine
        from pipeline.adapter.placement import place
        from pipeline.adapter.start import finish, opened

        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.ours}
        check_machine(own)
        start = opened(given, self.seed)
        values = resolved(own, start)
        adapted = inserted(self.config, values, start)
        placement = place(adapted, start.before)
        check_result(values, placement)
        return finish(start, adapted, placement, folder)
