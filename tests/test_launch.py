"""Several processes: one result, one cause when they fail, and none left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil
import pytest
from pydantic import TypeAdapter

from pipeline import worker
from pipeline.artifacts import AdaptedModel, BaseModel, Examples, TrainedModel, WeightFile
from pipeline.build import build_stage
from pipeline.errors import CheckError, ConfigError, MachineError
from pipeline.launch import Local, MultiGpu, assert_asked_processes, is_follower
from pipeline.launch.follow import _asked
from pipeline.launch.job import Failure, Job
from pipeline.launch.local import Joined
from pipeline.shipped import shipped_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

# This module is imported by every worker that runs `Stand`: torch would make each start slower.

TESTS = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """Stands in for a training; rank 1 does what `does` says, rank 0 waits for it."""

    does: Literal["nothing", "die", "leave", "refuse", "break", "log", "hang"]
    device: str = "cpu"

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        rank = int(os.environ.get("RANK", "0"))
        (folder / f"pid-{rank}").write_text(str(os.getpid()))
        if rank == 1 and self.does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == 1 and self.does == "leave":
            os._exit(5)
        if rank == 1 and self.does == "refuse":
            raise CheckError("finetune: the training loss is nan at step 3")
        if rank == 1 and self.does == "break":
            raise KeyError("a bug")
        if self.does == "log":
            logging.getLogger("pipeline.finetune").info("epoch 1 of 1")
        if self.does in ("die", "leave", "refuse", "break", "hang"):
            time.sleep(60)
        return TrainedModel(
            adapted=given[0],
            folder=folder / "adapter",
            steps=int(os.environ.get("WORLD_SIZE", "1")),
            best_step=1,
            metric="macro_f1",
            best_metric=0.1 + 0.2,
            train_loss=1 / 3,
        )


def artifacts(folder: Path) -> tuple[AdaptedModel, Examples]:
    """Return artifacts with nothing behind them."""
    weights = WeightFile(path=folder / "model.safetensors", sha256="00", size=1)
    base = BaseModel(
        folder=folder,
        weights=(weights,),
        source="tiny@0",
        task="sequence_classification",
        auto_class="AutoModelForSequenceClassification",
    )
    adapted = AdaptedModel(base=base, labels=("a", "b"), folder=folder, trainable=1, total=2)
    examples = Examples(
        folder=folder,
        task="sequence_classification",
        labels=("a", "b"),
        train_rows=3,
        validation_rows=2,
        test_rows=1,
        longest=9,
        mean_length=4.5,
    )
    return adapted, examples


def in_two(does: Literal["nothing", "die", "leave", "refuse", "break", "log"], folder: Path) -> TrainedModel:
    stage = MultiGpu(num_processes=2, main_process_port=None).place(Stand(does=does))
    return stage.run(artifacts(folder), folder)
