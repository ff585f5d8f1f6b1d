"""Transformers' Trainer with our batches, our loss over whole steps, and our evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import transformers
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from pipeline.finetune.optimizing import Optimizing, orthogonality
from pipeline.finetune.resuming import Resumable
from pipeline.finetune.sampler import Batches, Remaining, evaluation_batches, items_of
from pipeline.finetune.stopping import as_loader_worker
from pipeline.finetune.watched import Watched

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from torch import Tensor

    from pipeline.finetune.watch import Watch
    from pipeline.tasks import Collate, Task

__all__ = ["Engine"]


class Engine(Watched, Resumable, Optimizing):
    """The loop is transformers'; which rows, which loss and which evaluation are ours."""

    evaluating = False
    """Whether it is at the validation split."""

    def __init__(
        self,
        *,
        model: PeftModel,
        args: transformers.TrainingArguments,
        task: Task,
        labels: Sequence[str],
        batches: Batches,
        tables: tuple[Dataset, Dataset],
        collate: Collate,
        callbacks: Sequence[transformers.TrainerCallback],
        watch: Watch,
    ) -> None:
        """Take the tables of the splits train and validation."""
        super().__init__(
            model=model,
            args=args,
            data_collator=collate,
            train_dataset=tables[0],
            eval_dataset=tables[1],
            callbacks=[*callbacks, watch],
        )
        self.remove_callback(transformers.PrinterCallback)
        self.watch = watch
        watch.engine = self
        self.task = task
        self.labels = labels
        self.batches = batches
        self.model_accepts_loss_kwargs = True  # the loss is over the whole step: do not divide it

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's micro-batches; accelerate does not cut them again."""
        return _EpochLoader(
            self.train_dataset,
            batch_sampler=Remaining(self.batches),
            collate_fn=self._collate,
            num_workers=self.args.dataloader_num_workers,
            worker_init_fn=as_loader_worker,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _collate(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        if examples:
            batch: dict[str, Tensor] = self.data_collator(examples)
            return batch
        # The last step has fewer rows than processes: this one joins with a row that counts for
        # nothing, because every process must take part in every exchange of gradients.
        return self.empty_batch()

    def empty_batch(self) -> dict[str, Tensor]:
        """Return a row without a label: its loss is zero."""
        batch: dict[str, Tensor] = self.data_collator([self.train_dataset[0]])
        del batch["labels"]
        return batch

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: int = 0,
    ) -> Tensor:
        """Return this micro-batch's part of the mean loss over the items of the step."""
        labels = inputs.pop("labels", None)
        logits: Tensor = model(**inputs).logits
        if labels is None:
            return logits.float().sum() * 0.0
        # Gradients are averaged over processes, and ours are parts of one sum.
        loss = self.task.loss(logits, labels, num_items_in_batch) * float(self.args.world_size)
        penalty = orthogonality(self.accelerator.unwrap_model(model)) if model.training else None
        return loss if penalty is None else loss + penalty / len(self._micro_batches)

    @torch.no_grad()
    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """Return the metrics of the validation split, the same in every process."""
        self.evaluating = True
        items = items_of(self.eval_dataset)
        every = evaluation_batches(
            np.asarray(self.eval_dataset["length"]), self.args.per_device_eval_batch_size
        )
        mine = every[self.args.process_index :: self.args.world_size]
        loader = DataLoader(
            self.eval_dataset,
            batch_sampler=mine,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            worker_init_fn=as_loader_worker,
            pin_memory=self.args.dataloader_pin_memory,
        )
        self.model.eval()
        parts: list[tuple[list[int], list[Any], float]] = []
        for numbers, loaded in zip(mine, loader, strict=True):
            if self.stop.number:
                break
            batch = self._prepare_inputs(loaded)
            labels = batch.pop("labels")
            logits = self.model(**batch).logits.float()
            loss = self.task.loss(logits, labels, items).item()
            parts.append((numbers, self.task.judged(logits, labels), loss))
        parts = gather_object(parts)
        self.leave_evaluation(whole=len(parts) == len(every))
        self.watch.check_evaluation([(numbers, loss) for numbers, _, loss in parts])
        of_row = {
            row: judged
            for numbers, each, _ in parts
            for row, judged in zip(numbers, each, strict=True)
        }
        scores = self.task.metrics([of_row[row] for row in sorted(of_row)], self.labels)
        metrics = {f"eval_{name}": value for name, value in scores.items()}
        metrics["eval_loss"] = math.fsum(loss for *_, loss in parts)
        self.evaluating = False
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Record, with the length of the gradient, and epochs as far as their steps."""
        if "loss" in logs:
            logs["grad_norm"] = self.watch.grad_norm
        # transformers counts micro-batches; an epoch is as far as its steps, however they are cut.
        self.state.epoch = self.state.global_step / self.batches.steps
        super().log(logs, start_time)

    def store_flos(self) -> None:
        """Count nothing: it would cost an exchange between processes at every step."""


class _EpochLoader(DataLoader[Any]):
    def set_epoch(self, epoch: int) -> None:
        cast("Remaining", self.batch_sampler).set_epoch(epoch)
