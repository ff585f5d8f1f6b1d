"""Stage 4: train the adapter and the head, and keep the weights of the best evaluation."""

from pipeline.finetune.none import NoTraining
from pipeline.finetune.trainer import Trainer

__all__ = ["NoTraining", "Trainer"]
