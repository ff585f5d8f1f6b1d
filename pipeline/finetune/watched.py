"""What the watch needs to know of a step: its loss, its rows, and how to compute it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from pipeline.finetune.sampler import items_of

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.finetune.sampler import Batches

    Again = tuple[list[dict[str, Tensor]], Callable[[Mapping[str, Tensor]], Tensor]]

__all__ = ["Watched"]


class Watched(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """Remembers the micro-batches of the step it is at, until the next one."""

    batches: Batches

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], int]:
        """Return the micro-batches of a step, and how many items it has in all processes."""
        self._micro_batches = list(islice(epoch_iterator, num_batches))
        self._losses: list[Tensor] = []
        self._seed_dropout()
        return self._micro_batches, self.batches.items(self.state.global_step)

    def _seed_dropout(self) -> None:
        """Make dropout a function of (seed, step, process), whatever ran before."""
        sequence = np.random.SeedSequence(
            [self.args.seed, self.state.global_step, self.args.process_index]
        )
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def training_step(self, *given: Any, **more: Any) -> Tensor:
        """Add a micro-batch's gradient to that of the step, and remember its loss."""
        loss: Tensor = super().training_step(*given, **more)
        self._losses.append(loss)
        return loss

    def _get_grad_norm(self, *_: object, **__: object) -> None:
        """Measure nothing: the watch does, by module, and cuts."""

    def step_loss(self) -> Tensor:
        """Return the loss of the step: this process's share, times the processes."""
        return torch.stack(self._losses).sum()

    def step_rows(self) -> list[list[int]]:
        """Return which rows of the training split this process's micro-batches hold."""
        first = self.state.global_step % self.batches.steps * self.batches.micro_batches
        return list(islice(self.batches, first, first + len(self._micro_batches)))

    def step_again(self) -> Again:
        """Return the micro-batches of the step and what computes their loss, dropout included."""
        self._seed_dropout()
        return self._micro_batches, self._loss_again(self.batches.items(self.state.global_step))

    def evaluation_again(self, rows: Sequence[int]) -> Again:
        """Return a batch of the validation split and what computes its loss."""
        batch = self.data_collator([self.eval_dataset[row] for row in rows])
        return [batch], self._loss_again(items_of(self.eval_dataset, rows))

    def _loss_again(self, items: int) -> Callable[[Mapping[str, Tensor]], Tensor]:
        model = self.accelerator.unwrap_model(self.model)  # no word to other processes

        def loss_of(batch: Mapping[str, Tensor]) -> Tensor:
            with self.compute_loss_context_manager():
                inputs = self._prepare_inputs(dict(batch))
                loss: Tensor = self.compute_loss(model, inputs, False, items)
            return loss

        return loss_of
