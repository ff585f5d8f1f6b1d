"""transformers' Trainer, which saves what it needs to go on, goes on from it, and stops when asked.

The order of rows is a function of the seed and the epoch, dropout one of the seed, the step and the
process: so there is no state of a random generator to save.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
import transformers

from pipeline.finetune.checkpoints import Checkpoints, Progress
from pipeline.finetune.stopping import EvaluationStoppedError, Stop
from pipeline.finetune.tensors import Tensors

if TYPE_CHECKING:
    from pipeline.artifacts import BaseModel
    from pipeline.finetune.callbacks import Keeper
    from pipeline.finetune.sampler import Batches

__all__ = ["Remembers", "Resumable"]


@runtime_checkable
class Remembers(Protocol):
    """A callback whose knowledge must survive the process."""

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as JSON can hold it."""
        ...

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Go on after `step` steps, where `state` was asked."""
        ...


class Resumable(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """Overrides of the loop's private parts: those of transformers 5.10 to 5.23 are the same."""

    batches: Batches
    control: transformers.TrainerControl

    def keep(
        self,
        *,
        checkpoints: Checkpoints,
        keeper: Keeper,
        base: BaseModel,
        stop: Stop,
        work: Mapping[str, Any],
        start: Progress | None,
    ) -> None:
        """Say where to save, and what to go on from; called once, before `train`.

        Args:
            checkpoints: Where.
            keeper: Knows the best evaluation.
            base: Whose adapter is trained.
            stop: Asked after each step.
            work: What the training is.
            start: Where a killed attempt stood.
        """
        self._checkpoints, self._keeper, self._base = checkpoints, keeper, base
        self.stop, self._work = stop, work
        self._start = start
        if start is not None:
            self.state.global_step = start.step
            for name, callback in self._remembering().items():
                callback.restore(start.kept[name], start.step)

    def _remembering(self) -> dict[str, Remembers]:
        return {
            type(each).__name__: each
            for each in self.callback_handler.callbacks
            if isinstance(each, Remembers)
        }

    def train_on(self) -> None:
        """Train what is left to train.

        Raises:
            StoppedError: A signal came; what is done is saved.
        """
        if self._start is not None and self._start.ended:
            return
        self.train()
        if number := self.stop.agreed(self.args.device):
            self.stop.raise_for(number, self.state.global_step, self.state.max_steps)

    # -- going on -----------------------------------------------------------------------------

    def _init_training_state(self, *given: Any, **more: Any) -> tuple[int, int]:
        epochs, steps = super()._init_training_state(*given, **more)
        if self._start is None:
            return epochs, steps
        self.state.global_step = self._start.step
        epochs, steps = divmod(self._start.step, self.batches.steps)
        if steps == 0 and not self._start.evaluated:
            epochs, steps = epochs - 1, self.batches.steps  # that epoch ends with its evaluation
        return epochs, steps

    def _prepare_for_training(self, *given: Any, **more: Any) -> Any:
        prepared = super()._prepare_for_training(*given, **more)
        if self._start is not None:
            if self.args.world_size > 1:
                self._settle_buckets(prepared[0])
            folder = self._checkpoints.folder / self._start.name
            self._tensors().load(folder, self._start.numbers)
        return prepared

    def _settle_buckets(self, model: torch.nn.Module) -> None:
        """Let torch put the gradients into the order in which it sums them after its first step.

        It learns that order, and with it what shares a message, from the first backward pass; the
        order in which more than two processes are summed follows from it.
        """
        model.train()
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(self.empty_batch()))
        loss.backward()
        model.zero_grad()

    def _run_epoch(self, **told: Any) -> None:
        done = told["steps_trained_in_current_epoch"]
        if told["epoch"] == told["epochs_trained"] and done:
            if done == self.batches.steps or self.state.global_step == self.state.max_steps:
                self._end_epoch(told)
                return
            # The epoch looks as if it had only the steps that are left.
            told["steps_in_epoch"] -= done * self.args.gradient_accumulation_steps
            told["num_update_steps_per_epoch"] -= done
            told["train_dataloader"].batch_sampler.skip(told["epoch"], done)
        super()._run_epoch(**told)

    def _end_epoch(self, told: Mapping[str, Any]) -> None:
        """Do what comes after the last step of an epoch."""
        self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
        self._maybe_log_save_evaluate(
            self._tr_loss,
            None,
            told["model"],
            told["trial"],
            told["epoch"],
            told["ignore_keys_for_eval"],
            told["start_time"],
        )

    # -- saving and stopping ------------------------------------------------------------------

    def _maybe_log_save_evaluate(self, *given: Any, **more: Any) -> None:
        number = self.stop.agreed(self.args.device)
        if number:
            self.control.should_evaluate = False
            self.control.should_save = True
        try:
            super()._maybe_log_save_evaluate(*given, **more)
        except EvaluationStoppedError:
            number = self.stop.agreed(self.args.device)
            self._save_checkpoint()
        if number:
            self.accelerator.wait_for_everyone()  # whoever ends first makes a launcher end the rest
            self.stop.raise_for(number, self.state.global_step, self.state.max_steps)

    def leave_evaluation(self, *, whole: bool) -> None:
        """Go no further with an evaluation that some process left because it was asked to stop.

        Raises:
            EvaluationStoppedError: In all processes alike.
        """
        if not whole:
            raise EvaluationStoppedError

    def _save_checkpoint(self, *_: object, **__: object) -> None:
        """Save, if this is the process that writes; all have the same to save."""
        progress = self._progress()
        if progress is None or (self._checkpoints.folder / progress.name).exists():
            return
        tensors = self._tensors()
        with self._checkpoints.saving(progress, tensors.size) as folder:
            tensors.save(folder)
            if self._keeper.evaluated_step == progress.step:
                self._base.save_adapter(self.model, folder / "adapter")

    def _progress(self) -> Progress | None:
        if not self.is_world_process_zero():
            return None
        step, steps = self.state.global_step, self.state.max_steps
        due = step % self.batches.steps == 0 or step == steps
        evaluated = not due or self._keeper.evaluated_step == step
        return Progress(
            step=step,
            steps=steps,
            evaluated=evaluated,
            ended=evaluated and (step == steps or self._keeper.patience_is_over),
            best_step=self._keeper.best_step,
            per_device=self.args.per_device_train_batch_size,
            work=self._work,
            numbers=self._tensors().numbers(),
            kept={name: each.state() for name, each in self._remembering().items()},
            log=self._checkpoints.log_file(),
        )

    def _tensors(self) -> Tensors:
        return Tensors(
            model=self.model,
            optimizer=self.optimizer.optimizer,  # without accelerate's wrapper
            schedule=self.lr_scheduler,
            scaler=self.accelerator.scaler,
        )
