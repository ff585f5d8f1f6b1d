"""What happens beside the steps: keep the best weights, stop early, write down, show progress."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no types
from transformers import TrainerCallback

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from pipeline.finetune.sampler import Batches

__all__ = ["Keeper", "Recorder"]

log = logging.getLogger("pipeline.finetune")


class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Knows the best evaluation, has each one saved, and stops when they get no better."""

    def __init__(self, metric: str, patience: int | None, *, greater_is_better: bool) -> None:
        """Look for the best `metric`; stop after `patience` epochs without a better one."""
        self._metric, self._patience = f"eval_{metric}", patience
        self._greater_is_better = greater_is_better
        self._since_best = 0
        self.best_step = 0
        self.best_metric: float | None = None
        self.evaluated_step = 0
        """Step after which the last evaluation was."""

    @property
    def patience_is_over(self) -> bool:
        """Whether training stops early, now."""
        return self._since_best == self._patience

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        metrics: Mapping[str, float],
        **_: Any,
    ) -> None:
        self.evaluated_step = state.global_step
        found = metrics[self._metric]
        if self._is_better(found):
            self.best_step, self.best_metric = state.global_step, found
            self._since_best = 0
        else:
            self._since_best += 1
        control.should_training_stop |= self.patience_is_over
        control.should_save = True

    def _is_better(self, found: float) -> bool:
        if self.best_metric is None or math.isnan(self.best_metric):
            return True
        return found > self.best_metric if self._greater_is_better else found < self.best_metric

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON can hold it."""
        return {
            "best_step": self.best_step,
            "best_metric": self.best_metric,
            "since_best": self._since_best,
            "evaluated_step": self.evaluated_step,
        }

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Go on where `state` was asked."""
        self.best_step, self.evaluated_step = state["best_step"], state["evaluated_step"]
        self.best_metric = state["best_metric"]
        self._since_best = state["since_best"]


class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Writes `metrics.jsonl`, says a line an epoch, and on a terminal moves a bar."""

    def __init__(self, file: Path, batches: Batches) -> None:
        """Write to `file`; `batches` tells the steps of an epoch, and the rows of a step."""
        self._file, self._batches = file, batches
        self._bar: tqdm | None = None
        self._start = time.monotonic()
        self._sum = self._seen = self._epochs = self._seconds = 0.0

    @property
    def train_loss(self) -> float:
        """Mean loss over the items of the epoch that ran last."""
        return self._sum / self._seen

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._start = time.monotonic() - self._seconds
        self._epochs = args.num_train_epochs
        if state.is_world_process_zero and sys.stderr.isatty():
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="train", unit="step",
                dynamic_ncols=True, leave=False,
            )  # fmt: skip

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        logs: Mapping[str, float],
        **_: Any,
    ) -> None:
        if "loss" in logs:
            step = state.global_step - 1
            if step % self._batches.steps == 0:
                self._sum = self._seen = 0.0
            items = self._batches.items(step)
            self._sum += logs["loss"] * items
            self._seen += items
        elif "eval_loss" not in logs:
            return  # transformers' summary at the end
        if not state.is_world_process_zero:
            return
        seconds = round(time.monotonic() - self._start, 3)
        told = {"step": state.global_step, "epoch": state.epoch, **logs, "seconds": seconds}
        # JSON has no infinity: fp16 meets it while it looks for its scale, and skips the step.
        told = {key: value if math.isfinite(value) else None for key, value in told.items()}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        if self._bar is not None and "loss" in logs:
            self._bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)
            self._bar.update(state.global_step - self._bar.n)
        if "eval_loss" in logs:
            self._say(state, logs, seconds)

    def _say(self, state: TrainerState, logs: Mapping[str, float], seconds: float) -> None:
        scores = ", ".join(
            f"{name.removeprefix('eval_')} {value:.4f}"
            for name, value in logs.items()
            if name.startswith("eval_") and name != "eval_loss"
        )
        with tqdm.external_write_mode():  # above the bar, if there is one
            log.info(
                "    epoch %.4g of %.4g: loss %.4f, validation loss %.4f, %s (%.1f s)",
                state.epoch, self._epochs, self.train_loss, logs["eval_loss"], scores, seconds,
            )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON can hold it."""
        seconds = time.monotonic() - self._start
        return {"sum": self._sum, "seen": self._seen, "seconds": seconds}

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Go on where `state` was asked; the time in between does not count."""
        self._sum, self._seen, self._seconds = state["sum"], state["seen"], state["seconds"]

    def close(self) -> None:
        """Leave the terminal as it was, also after an error."""
        if self._bar is not None:
            self._bar.close()
