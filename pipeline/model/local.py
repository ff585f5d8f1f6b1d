"""A model in a folder of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.model.folder import Source, from_folder

__all__ = ["Local"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Local(Source):
    """A folder as `save_pretrained` writes it: config, tokenizer, weights."""

    path: Path
    allow_pickle: bool

    def run(self, given: None, folder: Path) -> BaseModel:
        path = self.path.expanduser().absolute()
        return from_folder(
            path,
            folder,
            told=str(self.path),
            name=path.resolve().name,
            task=self.task,
            dropout=self.dropout,
            weights=self.weights,
            allow_pickle=self.allow_pickle,
        )
