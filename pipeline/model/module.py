"""A user's own `nn.Module`, by the path of its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import BaseModel
from pipeline.errors import StageError
from pipeline.model.own import Images, check_size, finished
from pipeline.model.state_dict import read_weights
from pipeline.own.classes import (
    class_named,
    digest,
    labels_argument,
    source_files,
    why_refused,
)
from pipeline.seal import sha256

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.own.config import OwnConfig

__all__ = ["Module"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Module(Images):
    """Takes a batch of images (rows, channels, height, width), and returns logits (rows, labels).

    The class gets `num_labels=` or `num_classes=` if it takes one; else it must have as many
    outputs as there are labels.
    """

    class_path: str
    """`my_net.Net`: of this folder or installed. Importing it needs `allow_code` on the command
    line."""
    kwargs: Mapping[str, Any]
    """What its `__init__` is called with."""
    weights: str
    """`random`; `none`, the architecture alone; or a file of a state_dict."""
    image_size: int
    """Height and width, pixels."""
    num_channels: int
    """1 is grey, 3 is red, green and blue."""
    seed: int
    """Decides random weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 4294967295, got {self.seed}")
        check_size(self.image_size, self.num_channels, self.image_mean)
        if (reason := why_refused(self.class_path)) is not None:
            raise ValueError(f"class_path: {reason}")
        Images.__post_init__(self)  # not `super()`: with slots this is a new class

    def run(self, given: None, folder: Path) -> BaseModel:
        return self._made(folder, look=False)

    def look(self, given: None, folder: Path) -> BaseModel:
        """Do what `run` does, without writing weights."""
        return self._made(folder, look=True)

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of the class's source and of the weights, by their absolute paths."""
        files = list(source_files(self.class_path))
        if (weights := self._file()) is not None:
            if not weights.is_file():
                raise StageError(f"model.weights: no such file: {weights}")
            files.append(weights)
        return {str(file.absolute()): sha256(file) for file in files}

    def _file(self) -> Path | None:
        """Return the file of weights, if one is given."""
        return None if self.weights in ("random", "none") else Path(self.weights).expanduser()

    def _made(self, folder: Path, *, look: bool) -> BaseModel:
        from pipeline.own.building import examined
        from pipeline.own.config import OwnConfig

        file = self._file()
        given = read_weights(file) if file is not None else None
        cls = class_named(self.class_path, "model.class_path")
        config = OwnConfig(
            class_path=self.class_path,
            arguments=dict(self.kwargs),
            labels_as=labels_argument(cls, self.kwargs),
            source=digest(self.class_path),
            image_size=self.image_size,
            num_channels=self.num_channels,
        )
        config = examined(config)
        if given is not None and config.outputs is None:
            config.num_labels = _outputs(config.head or [], given) or config.num_labels
        if self.weights == "random":
            given = self._random(config)
        told = {"random": f"random weights, seed {self.seed}", "none": "without weights"}
        return finished(
            config,
            given,
            folder,
            asked=self,
            name=self.class_path.rpartition(".")[2],
            told=told.get(self.weights, Path(self.weights).name),
            look=look,
        )

    def _random(self, config: OwnConfig) -> dict[str, Tensor]:
        """Return what the class starts from; a head that follows the labels is made with them."""
        import torch

        from pipeline.fit import outside_body
        from pipeline.own.model import OwnModel

        torch.manual_seed(self.seed)
        model = OwnModel(config)
        values = model.state_dict()
        new = outside_body(model, values) if config.outputs is None else set()
        return {name: value for name, value in values.items() if name not in new}


def _outputs(head: list[str], given: Mapping[str, Tensor]) -> int | None:
    """Return for how many labels the head of a file was made."""
    counts = (given[f"{part}.weight"].shape[0] for part in head if f"{part}.weight" in given)
    return next(counts, None)
