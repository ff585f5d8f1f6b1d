"""Which images lie in a folder, with which label and in which split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.table import SPLITS
from pipeline.errors import StageError, nearest

__all__ = ["Found", "find_images"]

_SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
           "val": "validation", "dev": "validation", "test": "test"}  # fmt: skip
_ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm",
            ".pgm", ".pbm")  # fmt: skip
_OF_THE_SYSTEM = ("Thumbs.db", "desktop.ini")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The images of a folder."""

    splits: dict[str, list[tuple[Path, str]]]
    """Each with its label, in the order of their paths."""
    strays: list[Path]
    """Files that are no images by their names, seen from the folder."""


def find_images(path: Path, key: str) -> Found:
    """Return the images in a folder; none is opened.

    Args:
        path: What the user gave.
        key: The setting that names it.

    Raises:
        StageError: There is no such folder, it is laid out in another way, or something in it
            leads out of it; starts with `key` and names it.
    """
    root = _root(path, key)
    try:
        return _Finder(root, key).found()
    except OSError as error:
        raise StageError(f"{key}: cannot read {error.filename}: {error.strerror}") from error


def _root(path: Path, key: str) -> Path:
    try:
        root = path.expanduser().absolute()
    except RuntimeError:  # ~nobody is no user: then it is a name like any other
        root = path.absolute()
    if root.is_dir():
        return root
    if root.exists():
        raise StageError(f"{key}: {root} is a file; expected a folder with a folder for each label")
    if root.is_symlink():
        raise StageError(f"{key}: {root} is a link to nothing: {root.readlink()}")
    beside = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
    raise StageError(f"{key}: no such folder: {root}{nearest(root.name, beside)}")


class _Finder:
    def __init__(self, root: Path, key: str) -> None:
        self._root, self._key = root, key
        self._real = root.resolve()
        self._strays: list[Path] = []

    def found(self) -> Found:
        folders = self._folders(self._root)
        splits: dict[str, Path] = {}
        for folder in folders:
            split = _SPLITS.get(folder.name.casefold())
            if split in splits:
                raise StageError(
                    f"{self._key}: {splits[split]} and {folder} are both the split {split}; keep "
                    "one of them"
                )
            if split is not None:
                splits[split] = folder
        if not splits:
            return Found(splits={"train": self._labelled(self._root)}, strays=self._strays)
        if others := [folder for folder in folders if folder not in splits.values()]:
            raise StageError(
                f"{self._key}: {others[0]} lies beside {next(iter(splits.values())).name}, which "
                "is the name of a split; give folders of labels alone, or of splits alone: train, "
                "validation, test"
            )
        if "train" not in splits:
            raise StageError(
                f"{self._key}: {self._root} has {', '.join(each.name for each in folders)} but no "
                "train; name the folder with the images to learn from train"
            )
        labelled = {split: self._labelled(splits[split]) for split in SPLITS if split in splits}
        return Found(splits=labelled, strays=self._strays)

    def _labelled(self, folder: Path) -> list[tuple[Path, str]]:
        """Return the images of a folder of folders with the names of those."""
        labels = self._folders(folder)
        if len(labels) < 2:
            inside = f"only {labels[0].name}" if labels else "none"
            raise StageError(
                f"{self._key}: {folder} needs a folder for each label, at least two, and has "
                f"{inside}; an image's label is the name of its folder"
            )
        found: list[tuple[Path, str]] = []
        for label in labels:
            images = list(self._images(label))
            if not images:
                raise StageError(
                    f"{self._key}: {label} has no images ({', '.join(_ENDINGS)}); put some there, "
                    "or remove the folder"
                )
            found += [(image, label.name) for image in images]
        return found

    def _folders(self, folder: Path) -> list[Path]:
        """Return the folders in one whose files mean nothing."""
        folders = []
        for entry in sorted(folder.iterdir()):
            if entry.is_dir():
                if not entry.name.startswith("."):
                    self._check_inside(entry)
                    folders.append(entry)
            elif entry.suffix.lower() in _ENDINGS:
                raise StageError(
                    f"{self._key}: {entry} lies in no folder of a label; an image's label is the "
                    "name of its folder"
                )
            else:
                self._stray(entry)
        return folders

    def _images(self, label: Path) -> Iterator[Path]:
        for place, folders, files in os.walk(label, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                self._check_inside(Path(place, name))
            for name in sorted(files):
                file = Path(place, name)
                if file.suffix.lower() not in _ENDINGS or name.startswith("."):
                    self._stray(file)
                    continue
                self._check_inside(file)
                if not file.is_file():
                    raise StageError(f"{self._key}: {file} is a pipe or a device, not an image")
                yield file

    def _check_inside(self, entry: Path) -> None:
        """Refuse links out of the folder: what they lead to was not given to us."""
        if not entry.is_symlink():
            return
        target = entry.resolve()
        if not target.is_relative_to(self._real):
            raise StageError(
                f"{self._key}: {entry} is a link to {target}, outside {self._root}; put the images "
                "themselves there"
            )
        if not target.exists():
            raise StageError(f"{self._key}: {entry} is a link to nothing: {entry.readlink()}")
        if target.is_dir():
            raise StageError(
                f"{self._key}: {entry} is a link to the folder {target}; its images would count "
                "twice"
            )

    def _stray(self, file: Path) -> None:
        if not file.name.startswith(".") and file.name not in _OF_THE_SYSTEM:
            self._strays.append(file.relative_to(self._root))


def _raise(error: OSError) -> None:
    raise error
