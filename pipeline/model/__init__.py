"""Stage 1: find a base model. Its weights are checked and hashed, and stay where they are."""

from pipeline.model.config import FromConfig
from pipeline.model.exported import Exported
from pipeline.model.hub import Hub
from pipeline.model.local import Local
from pipeline.model.module import Module
from pipeline.model.package import Package

__all__ = ["Exported", "FromConfig", "Hub", "Local", "Module", "Package"]
