"""No training: look before you pay for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.artifacts import AdaptedModel, Examples, TrainedModel
from pipeline.finetune.trainer import Trainer

__all__ = ["NoTraining"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoTraining(Trainer):
    """Hands the adapted model on as it is.

    It takes the settings of a training and checks them, so that any recipe can be looked at by
    choosing `finetune=none`, and its mistakes show before the training starts.
    """

    trains: ClassVar[bool] = False
    resumes: ClassVar[bool] = False

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        log.info("    not trained")
        return self.look(given, folder)

    def look(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        adapted, _ = given
        return TrainedModel(adapted=adapted, folder=adapted.folder, steps=0, best_step=0)
