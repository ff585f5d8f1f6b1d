"""Which files of a folder transformers would load as weights."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StageError
from pipeline.model.config_file import read_json

__all__ = ["weight_files"]

_LFS = b"version https://git-lfs"
_INDEX = ".index.json"


def weight_files(source: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    """Return the files of weights, all parts of them; of their content the first bytes are read.

    Args:
        source: Folder in the layout of transformers. Other files of weights may lie in it.
        allow_pickle: Accept `pytorch_model.bin` when there is no safetensors file.

    Raises:
        StageError: There are none, one is missing, or is a pointer of git-lfs.
    """
    files = _named(source, "model.safetensors")
    if not files:
        pickles = _named(source, "pytorch_model.bin")
        if pickles and not allow_pickle:
            raise StageError(
                f"model: {source} has only {pickles[0].name}, a pickle; convert it to safetensors, "
                "or set model.allow_pickle=true if you trust its author"
            )
        files = pickles
    if not files:
        raise StageError(f"model: {source} has no model.safetensors{_instead(source)}")
    for file in files:
        _check_there(file)
    return files


def _named(source: Path, name: str) -> tuple[Path, ...]:
    """Return the file, or the parts that its index lists, or nothing."""
    whole, index = source / name, source / f"{name}{_INDEX}"
    if whole.exists() or whole.is_symlink():
        return (whole,)
    if index.exists():
        return _listed(source, index)
    stem, _, suffix = name.partition(".")
    parts = sorted(source.glob(f"{stem}-*-of-*.{suffix}"))
    if parts:
        raise StageError(f"model: {source} has {parts[0].name}, but no {index.name}; get it again")
    return ()


def _listed(source: Path, index: Path) -> tuple[Path, ...]:
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise StageError(f"model: {index} has no weight_map; get it again")
    names = sorted({str(name) for name in listed.values()})
    for name in names:
        if Path(name).name != name:
            raise StageError(f"model: {index} lists {name!r}, which is not in its folder")
        if not (source / name).exists():
            count = list(listed.values()).count(name)
            raise StageError(
                f"model: {index} lists {name} with {count} of the {len(listed)} weights, and it is "
                "not there; get it again"
            )
    return tuple(source / name for name in names)


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise StageError(f"model: {file} is a link to nothing, or no file; get it again")
    size = file.stat().st_size
    if size == 0:
        raise StageError(f"model: {file} is empty (0 bytes); get it again")
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_LFS))
    except OSError as error:
        raise StageError(f"model: cannot read {file}: {error.strerror}") from error
    if start == _LFS:
        raise StageError(f"model: {file} is a git-lfs pointer ({size} bytes); run `git lfs pull`")


def _instead(source: Path) -> str:
    others = [
        file.name
        for pattern in ("*.safetensors", "*.gguf", "*.h5", "*.msgpack", "*.ckpt.index")
        for file in sorted(source.glob(pattern))
    ]
    return f"; {others[0]} is no name that transformers loads" if others else ""
