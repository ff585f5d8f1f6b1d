"""Rows of images: a label each, the name of the folder they lie in."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import ClassVar

from pipeline.artifacts import HashedFile
from pipeline.data.drawn import check_drawing, drawn
from pipeline.data.folders import Found, find_images
from pipeline.data.table import Asked
from pipeline.errors import StageError
from pipeline.rows import Raw, Rows
from pipeline.seal import sha256
from pipeline.tasks.pictures import Picture

__all__ = ["ImageFolder", "Images"]

log = logging.getLogger(__name__)

_LABEL = "label"


@dataclass(frozen=True, kw_only=True, slots=True)
class Images(Asked):
    """What every source of images has; splits that it lacks are drawn from the training rows."""

    # A row is an image and its label: there are no columns to choose from.
    label_column: ClassVar[str] = _LABEL  # type: ignore[misc]  # here it is no setting
    validation_size: float
    """Share of the training images set aside when there is no validation split, 0 to 1."""
    test_size: float
    """The same for the test split, which is drawn first."""
    seed: int

    def __post_init__(self) -> None:
        check_drawing(self.validation_size, self.test_size, self.seed)

    @property
    def inputs(self) -> dict[str, str]:
        return {"path": "image"}

    def rows(
        self, found: Mapping[str, Raw], strata: Sequence[int] | None
    ) -> dict[str, tuple[str, list[int]]]:
        sizes = {"test": self.test_size, "validation": self.validation_size}
        rows = Asked.rows(self, found, strata)
        return drawn(found, rows, strata, sizes, _LABEL, self.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class InFiles(Raw):
    """Images that are a file each, so that messages name the file."""

    def where(self, row: int) -> str:
        value = self.column("image")[row]
        assert isinstance(value, Picture)
        return f"{self.key}: {value.path}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder(Images):
    """A folder with a folder for each label; or with train, validation and test, and those in it.

    Images lie anywhere below the folder of their label.
    """

    path: Path

    def load(self) -> dict[str, Raw]:
        found = find_images(self.path, "data.path")
        if found.strays:
            some = ", ".join(map(str, found.strays[:5]))
            more = f" and {len(found.strays) - 5} more" if len(found.strays) > 5 else ""
            log.warning("    left out, for their names are no images': %s%s", some, more)
        raws = {split: _raw(split, found, self.path) for split in found.splits}
        _check_distinct(raws)
        return raws

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of each image, by its absolute path."""
        found = find_images(self.path, "data.path")
        files = [file for split in found.splits.values() for file, _ in split]
        return {str(file): _hashed(file).sha256 for file in files}


def _raw(split: str, found: Found, path: Path) -> Raw:
    pictures: list[object] = []
    labels: list[object] = []
    for file, label in found.splits[split]:
        pictures.append(Picture(sha256=_hashed(file).sha256, path=file, data=None))
        labels.append(label)
    rows = Rows(
        names=("image", _LABEL),
        columns={"image": pictures, _LABEL: labels},
        places=range(1, len(labels) + 1),
        unit="image",
    )
    return InFiles(rows=rows, key="data.path", origin=str(path))


def _hashed(file: Path) -> HashedFile:
    try:
        return HashedFile(path=file, sha256=sha256(file), size=file.stat().st_size)
    except OSError as error:
        raise StageError(f"data.path: cannot read {file}: {error.strerror}") from error


def _check_distinct(raws: Mapping[str, Raw]) -> None:
    """Refuse the same images twice: a metric on the training images says nothing."""
    contents = {
        split: {str(picture) for picture in raw.column("image")} for split, raw in raws.items()
    }
    for one, other in combinations(raws, 2):
        if contents[one] == contents[other]:
            raise StageError(
                f"data.path: the images of {other} are those of {one}, byte for byte; remove one "
                "of the folders, and images of train are set aside instead"
            )
