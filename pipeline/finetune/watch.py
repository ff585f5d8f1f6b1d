"""Stops a training whose numbers lie, before they change a weight, and says where it began."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers
from accelerate.utils import gather_object

from pipeline.errors import CheckError
from pipeline.finetune.culprit import Culprit, find_culprit, unfinite_weights
from pipeline.finetune.gradients import GradientNorms
from pipeline.finetune.guard import Guard, as_ranges, newest_checkpoint

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

    from pipeline.finetune.engine import Engine

__all__ = ["Watch"]

_SMALLEST_SCALE = 2.0**-10
"""An fp16 loss scale below this has halved 26 times: the gradients are never finite."""


class Watch(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Measures every step's gradient, cuts it, and refuses a step that is not to be believed."""

    engine: Engine
    """Whom it watches; the engine says so itself."""

    def __init__(
        self, model: PeftModel, folder: Path, *, max_grad_norm: float, writes: bool
    ) -> None:
        """Write to the stage's `folder` if this process `writes`; cut gradients, unless at 0."""
        self._model, self._folder = model, folder
        self._max_grad_norm = max_grad_norm
        self._guard = Guard()
        self._norms = GradientNorms(model, folder / "gradient_norms.jsonl" if writes else None)
        self.grad_norm = 0.0
        """Of the last step, before it was cut."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that train, by their names in the base model."""
        return self._norms.modules

    @property
    def unlearned(self) -> tuple[str, ...]:
        """Those of them whose gradient was exactly zero at every step."""
        return self._norms.unlearned

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON can hold it."""
        return {"guard": self._guard.state(), "norms": self._norms.state()}

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Go on after `step` steps, where `state` was asked."""
        self._guard.restore(state["guard"])
        self._norms.restore(state["norms"], step)

    def on_pre_optimizer_step(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **_: Any,
    ) -> None:
        """Look at loss and gradient before the optimizer does.

        Raises:
            CheckError: They are not finite, or explode; the same words in every process.
        """
        accelerator = self.engine.accelerator
        accelerator.unscale_gradients()
        loss = accelerator.reduce(self.engine.step_loss(), "mean")
        norms, total = self._norms.measure(loss)
        finite = math.isfinite(norms.total)
        trouble = self._guard.look(
            norms.loss, norms.total, may_skip=not finite and self._seeks_scale()
        )
        if trouble is not None:
            search = not (finite and math.isfinite(norms.loss))
            raise self._error(trouble, "training", *self._trace(search))
        if self._max_grad_norm > 0:
            self._norms.clip(self._max_grad_norm, total)
        self._norms.record(state.global_step + 1, state.max_steps, norms)
        self.grad_norm = norms.total

    def _seeks_scale(self) -> bool:
        """Whether fp16 skips this step to halve its loss scale, as it does at the start."""
        scaler = self.engine.accelerator.scaler
        return scaler is not None and scaler.get_scale() > _SMALLEST_SCALE

    def _trace(self, search: bool) -> tuple[list[int], str | None]:
        """Return the rows of all processes that matter, and what was not finite first."""
        rows, found = self.engine.step_rows(), None
        if search:
            found = self._find(*self.engine.step_again(), backward=True)
        every = gather_object([(found, _concerned(found, rows))])
        guilty = [told for told in every if told[0] is not None]
        concerned = [row for _, mine in guilty or every for row in mine]
        return concerned, guilty[0][0].what if guilty else None

    def check_evaluation(self, batches: Sequence[tuple[Sequence[int], float]]) -> None:
        """Look at what each batch of rows of the validation split adds to its loss.

        Raises:
            CheckError: One is not finite; the same words in every process.
        """
        for rows, loss in batches:
            if not math.isfinite(loss):
                found = self._find(*self.engine.evaluation_again(rows), backward=False)
                raise self._error(
                    f"the validation loss is {loss}",
                    "validation",
                    _concerned(found, [rows]),
                    None if found is None else found.what,
                )

    def _find(
        self,
        batches: Sequence[Mapping[str, Tensor]],
        loss_of: Callable[[Mapping[str, Tensor]], Tensor],
        *,
        backward: bool,
    ) -> Culprit | None:
        try:
            return find_culprit(self._model, batches, loss_of, backward=backward)
        except (RuntimeError, MemoryError):  # the search is a courtesy: the numbers are bad anyway
            return None

    def _error(
        self, trouble: str, split: str, rows: Sequence[int], first: str | None
    ) -> CheckError:
        args, step = self.engine.args, self.engine.state.global_step + (split == "training")
        told = [f"finetune: {trouble} at step {step}, rows {as_ranges(rows)} of the {split} split"]
        if first is not None:
            told.append(f"first not finite: {first}")
        base, ours = unfinite_weights(self._model)
        if base:
            told.append(
                f"weights of the base model itself are not finite: {_some(base)}; choose a model "
                "with other weights"
            )
        elif step == 1 and ours:
            told.append(f"weights of the adapter started like that: {_some(ours)}")
        elif step == 1:
            told.append("no weight had changed yet: look at these rows")
        else:
            told.append(f"lower finetune.learning_rate (now {args.learning_rate:g})")
            if self._max_grad_norm == 0:
                told[-1] += ", or cut gradients with finetune.max_grad_norm=1"
        if self.engine.accelerator.scaler is not None and not base:  # of fp16
            told[-1] += ", or use finetune.mixed_precision=no"
        if good := newest_checkpoint(self._folder / "checkpoints"):
            told.append(f"last good: {good}")
        return CheckError("; ".join(told))


def _concerned(found: Culprit | None, rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the rows that a culprit concerns, of those of the micro-batches."""
    if found is None:
        return [row for part in rows for row in part]
    part = rows[found.micro_batch]
    return [part[place] for place in found.rows if place < len(part)] or list(part)


def _some(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
