"""A model that pip installs as a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.errors import MachineError, StageError
from pipeline.model.folder import Source, contents, from_folder

__all__ = ["Package"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Package(Source):
    """Files of an installed distribution, read by path: its code is never imported."""

    distribution: str
    """Name on PyPI."""
    version: str
    path: str
    """Folder of the model inside site-packages."""
    sha256: str
    """Of `model.safetensors`; any other content is refused."""
    repo_id: str
    """The model on the hub whose file it is: what exported adapters name as their base."""

    def run(self, given: None, folder: Path) -> BaseModel:
        made = self._made(folder, look=False)
        if not made.weights:
            return made
        weight = made.weights[0]
        if len(made.weights) > 1 or weight.sha256 != self.sha256:
            raise StageError(
                f"model.sha256: {weight.path} is not the file that was checked: its sha256 is "
                f"{weight.sha256}, expected {self.sha256}"
            )
        return made

    def look(self, given: None, folder: Path) -> BaseModel:
        """Do what `run` does, with the headers of the weights: their sha256 takes a while."""
        return self._made(folder, look=True)

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of config, tokenizer and weights, by their absolute paths."""
        return contents(self._source(), weights=self.weights, allow_pickle=False)

    def _made(self, folder: Path, *, look: bool) -> BaseModel:
        return from_folder(
            self._source(),
            folder,
            told=f"{self.distribution}=={self.version}",
            name=self.repo_id,
            repo_id=self.repo_id,
            asked=self,
            allow_pickle=False,
            look=look,
        )

    def _source(self) -> Path:
        requirement = f"{self.distribution}=={self.version}"
        try:
            found = distribution(self.distribution)
        except (PackageNotFoundError, ValueError) as error:  # not there, or no name at all
            raise MachineError(
                f"model: the package {requirement} is not installed; "
                f"run `pip install {requirement}`"
            ) from error
        if found.version != self.version:
            raise MachineError(
                f"model: needs {requirement}, {found.version} is installed; "
                f"run `pip install {requirement}`"
            )
        return Path(str(found.locate_file(self.path)))
