"""The folder of a run belongs to one process at a time, from before Hydra's first file in it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.errors import ConfigError, FolderTakenError, MachineError
from pipeline.lock import locked

__all__ = ["claimed"]

_TIME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d$")
"""How configs/config.yaml names the folder of a run."""
_STAGE = re.compile(r"[1-6]_(model|data|adapter|finetune|export|visualize)")
"""What a run has in its folder: links into the store."""
_BAD_NAME = {errno.ENAMETOOLONG, errno.EINVAL}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST}


@contextmanager
def claimed(folder: Path, *, chosen: bool, sweeping: bool) -> Iterator[Path]:
    """Hold the folder of a run, or of a sweep, inside the `with` block; made if need be.

    Args:
        folder: As composed.
        chosen: Whether the user named it. Such a folder may hold an earlier run, which is gone on
            with, and files of the user.
        sweeping: Whether it is that of a sweep.

    Yields:
        The folder; of two starts in the same second, one gets `..._2`.

    Raises:
        FolderTakenError: Another process is at work in it.
        ConfigError: It cannot be a folder.
        MachineError: It cannot be written.
    """
    key = "hydra.sweep.dir" if sweeping else "hydra.run.dir"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in str(folder)):
        raise ConfigError(f"{key}: control character in {str(folder)!r}")
    try:
        mine = _make(folder, chosen=chosen or _TIME.search(folder.name) is None)
    except OSError as error:
        if error.errno in _BAD_NAME:
            raise ConfigError(f"{key}: {error.strerror}: {folder}") from error
        if error.errno in _NO_FOLDER:
            raise ConfigError(f"{key}: {_file_above(folder)} is a file, not a folder") from error
        raise MachineError(f"{key}: cannot write to {folder}: {error.strerror}") from error
    for each in sorted(mine.glob("[1-6]_*")):
        if _STAGE.fullmatch(each.name) and not each.is_symlink():
            raise ConfigError(
                f"{key}: {each} is a {'folder' if each.is_dir() else 'file'} of something else; "
                "choose another folder"
            )

    def busy(holder: str) -> None:
        raise FolderTakenError(
            f"{key}: {holder} is at work in {mine}; wait for it, or choose another folder"
        )

    with ExitStack() as held:
        try:
            held.enter_context(locked(mine / ".lock", busy=busy))
        except OSError as error:
            raise MachineError(f"{key}: cannot write to {mine}: {error.strerror}") from error
        yield mine


def _make(folder: Path, *, chosen: bool) -> Path:
    """Make the folder; one that is named by the time is new."""
    mine, number = folder, 1
    while True:
        try:
            mine.mkdir(parents=True, exist_ok=chosen)
        except FileExistsError:
            if chosen or not mine.is_dir():
                raise
            number += 1
            mine = folder.with_name(f"{folder.name}_{number}")
        else:
            return mine


def _file_above(folder: Path) -> Path:
    return next((each for each in (folder, *folder.parents) if each.is_file()), folder)
