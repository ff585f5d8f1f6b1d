"""One training, from the artifacts to the trained adapter."""

from __future__ import annotations

import logging
import math
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.errors import MachineError, StageError
from pipeline.finetune.attention import attend_in_float32
from pipeline.finetune.callbacks import Keeper, Recorder
from pipeline.finetune.checkpoints import Checkpoints, Progress
from pipeline.finetune.engine import Engine
from pipeline.finetune.memory import out_of_memory
from pipeline.finetune.optimizing import Allocator
from pipeline.finetune.sampler import Batches
from pipeline.finetune.starting import FAILED, find_start
from pipeline.finetune.stopping import Stop
from pipeline.finetune.watch import Watch
from pipeline.finetune.work import describe
from pipeline.memory import RowsAtOnce, forget, is_out_of_memory, remembered
from pipeline.tasks import task_named
from pipeline.tasks.head import check_head_trains

if TYPE_CHECKING:
    from pipeline.finetune.machine import Device, Precision
    from pipeline.finetune.trainer import Trainer

__all__ = ["train"]

log = logging.getLogger("pipeline.finetune")


def train(
    settings: Trainer,
    adapted: AdaptedModel,
    examples: Examples,
    folder: Path,
    *,
    device: Device,
    precision: Precision,
) -> TrainedModel:
    """Train in this process, one of those that met; only the first one writes."""
    arguments = _arguments(settings, folder, device, precision)
    processes = arguments.world_size
    if settings.train_batch_size % processes:
        raise StageError(
            f"finetune.train_batch_size: {settings.train_batch_size} rows do not divide by "
            f"{processes} processes; use a multiple of {processes}"
        )
    checkpoints = Checkpoints(folder / "checkpoints", folder / "metrics.jsonl")
    work = None
    if arguments.process_index == 0:
        work = describe(
            settings, adapted, examples, processes=processes, device=device, precision=precision
        )
    rows = remembered(folder) or RowsAtOnce(
        training=settings.per_device_train_batch_size,
        evaluation=settings.per_device_eval_batch_size,
    )
    arguments.per_device_eval_batch_size = rows.evaluation
    transformers.set_seed(settings.seed)
    model = adapted.load(trainable=True)
    allocator = Allocator(model)
    start = find_start(folder, checkpoints, work, rows.training, goes_on=not allocator.allocates)
    arguments.per_device_train_batch_size = rows.training if start is None else start.per_device
    table = examples.load("train")
    batches = Batches(
        table["length"],
        batch_size=settings.train_batch_size,
        per_device=arguments.per_device_train_batch_size,
        process=arguments.process_index,
        processes=processes,
        seed=settings.seed,
        by_length=settings.group_by_length,
        items=table["items"] if "items" in table.column_names else None,
    )
    arguments.gradient_accumulation_steps = batches.micro_batches
    task = task_named(examples.task)
    if task.labelled:
        check_head_trains(model)
    if device == "cpu" and precision == "bf16":
        attend_in_float32(model)
    keeper = Keeper(
        task.best_metric,
        settings.early_stopping_patience,
        greater_is_better=task.greater_is_better,
    )
    recorder = Recorder(folder / "metrics.jsonl", batches)
    watch = Watch(
        model,
        folder,
        max_grad_norm=settings.max_grad_norm,
        writes=arguments.process_index == 0,
    )
    engine = Engine(
        model=model,
        args=arguments,
        task=task,
        labels=examples.labels,
        batches=batches,
        tables=(table, examples.load("validation")),
        collate=task.collate(adapted.base),
        callbacks=[
            keeper,
            recorder,
            allocator,
            *_reporters(settings, folder, arguments, start),
        ],
        watch=watch,
    )
    engine.loraplus_lr_ratio = settings.loraplus_lr_ratio
    stop = Stop(folder / FAILED, processes)
    engine.keep(
        checkpoints=checkpoints,
        keeper=keeper,
        base=adapted.base,
        stop=stop,
        work=work or {},
        start=start,
    )
    try:
        with stop:
            engine.train_on()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(engine, examples, folder, settings.train_batch_size) from error
    finally:
        recorder.close()
    if watch.unlearned and arguments.process_index == 0:
        log.warning(
            "    %d of %d modules that train never had a gradient, and are as they were: %s",
            len(watch.unlearned), len(watch.modules), ", ".join(watch.unlearned[:5]),
        )  # fmt: skip
    if arguments.process_index == 0:
        shutil.copytree(checkpoints.adapter(keeper.best_step), folder / ".adapter")
        (folder / ".adapter").rename(folder / "adapter")
        checkpoints.clear()
        forget(folder)
    engine.accelerator.wait_for_everyone()
    return TrainedModel(
        adapted=adapted,
        folder=folder / "adapter",
        steps=engine.state.global_step,
        best_step=keeper.best_step,
        metric=task.best_metric,
        best_metric=keeper.best_metric,
        train_loss=recorder.train_loss,
        processes=processes,
        device=device,
        precision=precision,
        per_device_train_batch_size=arguments.per_device_train_batch_size,
        unlearned=watch.unlearned,
    )


def _arguments(
    settings: Trainer, folder: Path, device: Device, precision: Precision
) -> transformers.TrainingArguments:
    on_cpu = device == "cpu"
    return transformers.TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        num_train_epochs=settings.num_train_epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=0.0,  # the watch cuts them
        per_device_train_batch_size=settings.per_device_train_batch_size,
        per_device_eval_batch_size=settings.per_device_eval_batch_size,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and torch.distributed.is_initialized() else None,
        ddp_timeout=math.ceil(settings.timeout),
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=False,
        dataloader_num_workers=settings.dataloader_num_workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=settings.save_steps,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        seed=settings.seed,
    )


def _reporters(
    settings: Trainer,
    folder: Path,
    arguments: transformers.TrainingArguments,
    start: Progress | None,
) -> list[transformers.TrainerCallback]:
    if "tensorboard" not in settings.report_to:
        return []
    if find_spec("tensorboard") is None:
        raise MachineError(
            "finetune.report_to: tensorboard is not installed; "
            "run: pip install 'graft-pipeline[tensorboard]'"
        )
    if arguments.process_index:
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    # What an earlier attempt said of later steps is not shown.
    purged = None if start is None else start.step + 1
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purged)
    return [TensorBoardCallback(writer)]
