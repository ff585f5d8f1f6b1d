"""A program that `torch.export.save` wrote: graph and weights in one file, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.errors import StageError
from pipeline.model.own import Images, check_size, finished
from pipeline.own.archive import read_program
from pipeline.seal import sha256

__all__ = ["Exported"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported(Images):
    """Its linear layers and convolutions can carry adapters; it needs no class and no consent.

    Size and channels of the images are those it was exported with. If its last operator is a
    linear layer, that is the head, and is made anew for another number of labels.
    """

    path: Path

    def run(self, given: None, folder: Path) -> BaseModel:
        return self._made(folder, look=False)

    def look(self, given: None, folder: Path) -> BaseModel:
        """Do what `run` does, without writing weights."""
        return self._made(folder, look=True)

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of the file, by its absolute path."""
        file = self._file()
        return {str(file.absolute()): sha256(file)}

    def _file(self) -> Path:
        file = self.path.expanduser()
        if not file.is_file():
            raise StageError(f"model.path: no such file: {self.path}")
        return file

    def _made(self, folder: Path, *, look: bool) -> BaseModel:
        from pipeline.own.building import examined
        from pipeline.own.config import OwnConfig
        from pipeline.own.program import program_values

        file = self._file()
        program = read_program(file)
        channels, height, width = program["image"]
        if height != width:
            raise StageError(
                f"model.path: {file} takes images of {height} by {width} pixels; only square ones "
                "can be fed to it here"
            )
        try:
            check_size(height, channels, self.image_mean)
        except ValueError as error:
            raise StageError(f"model.{error}, as {file} was exported") from error
        config = OwnConfig(
            program=program,
            image_size=height,
            num_channels=channels,
            num_labels=program["outputs"],
        )
        return finished(
            examined(config),
            program_values(file),
            folder,
            asked=self,
            name=file.stem,
            told=file.name,
            look=look,
        )
