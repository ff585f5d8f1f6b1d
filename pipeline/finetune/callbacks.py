"""What happens beside the steps: keep the best weights, stop early, write down, show progress."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no types
from transformers import TrainerCallback

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from pipeline.artifacts import BaseModel

__all__ = ["Keeper", "Recorder"]

log = logging.getLogger("pipeline.finetune")


class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Saves the adapter after every evaluation; keeps the best one and the newest one."""

    def __init__(self, folder: Path, base: BaseModel, metric: str, patience: int | None) -> None:
        """Keep under `folder` what scores highest in `metric`; stop after `patience` epochs."""
        self._folder, self._base, self._patience = folder, base, patience
        self._metric = f"eval_{metric}"
        self._since_best = 0
        self.best_step = 0
        self.best_metric = -math.inf

    @property
    def best(self) -> Path:
        """The checkpoint of the best evaluation."""
        return self._checkpoint(self.best_step)

    def _checkpoint(self, step: int) -> Path:
        return self._folder / f"checkpoint-{step}"

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PeftModel,
        metrics: Mapping[str, float],
        **_: Any,
    ) -> None:
        step: int = state.global_step
        if metrics[self._metric] > self.best_metric:
            self.best_step, self.best_metric = step, metrics[self._metric]
            self._since_best = 0
        else:
            self._since_best += 1
        if self._since_best == self._patience:
            control.should_training_stop = True
        if state.is_world_process_zero:
            draft = self._folder / f".checkpoint-{step}"
            self._base.save_adapter(model, draft)
            draft.rename(self._checkpoint(step))  # a checkpoint with a name is a whole one
            for other in self._folder.iterdir():
                if other not in (self.best, self._checkpoint(step)):
                    shutil.rmtree(other)


class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Writes `metrics.jsonl`, says a line an epoch, and on a terminal moves a bar."""

    def __init__(self, file: Path, rows: Callable[[int], int]) -> None:
        """Write to `file`; `rows` tells how many rows a step has, counted from 0."""
        self._file, self._rows = file, rows
        self._bar: tqdm | None = None
        self._start = time.monotonic()
        self._sum = self._seen = self._epochs = 0.0

    @property
    def train_loss(self) -> float:
        """Mean loss over the rows of the epoch that ran last."""
        return self._sum / self._seen

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._start = time.monotonic()
        self._epochs = args.num_train_epochs
        if state.is_world_process_zero and sys.stderr.isatty():
            self._bar = tqdm(
                total=state.max_steps, desc="train", unit="step", dynamic_ncols=True, leave=False
            )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._sum = self._seen = 0.0

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
            rows = self._rows(state.global_step - 1)
            self._sum += logs["loss"] * rows
            self._seen += rows
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

    def close(self) -> None:
        """Leave the terminal as it was, also after an error."""
        if self._bar is not None:
            self._bar.close()
