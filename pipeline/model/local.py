"""A model in a folder of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.model.folder import Source, contents, from_folder

__all__ = ["Local"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Local(Source):
    """A folder as `save_pretrained` writes it: config, tokenizer, weights."""

    path: Path
    allow_pickle: bool

    def run(self, given: None, folder: Path) -> BaseModel:
        return self._made(folder, look=False)

    def look(self, given: None, folder: Path) -> BaseModel:
        """Do what `run` does, with the headers of the weights."""
        return self._made(folder, look=True)

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of config, tokenizer and weights, by their absolute paths."""
        return contents(self._source, weights=self.weights, allow_pickle=self.allow_pickle)

    @property
    def _source(self) -> Path:
        try:
            return self.path.expanduser().absolute()
        except RuntimeError:  # ~nobody is no user: then it is a name like any other
            return self.path.absolute()

    def _made(self, folder: Path, *, look: bool) -> BaseModel:
        source = self._source
        return from_folder(
            source,
            folder,
            told=str(self.path),
            name=source.resolve().name,
            asked=self,
            allow_pickle=self.allow_pickle,
            look=look,
        )
