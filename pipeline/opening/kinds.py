"""What kind of file it is, from its first bytes: the name may say anything."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from pipeline.errors import StageError, nearest
from pipeline.opening.asked import ADAPTERS
from pipeline.opening.pickled import Tensor
from pipeline.own.archive import is_program

__all__ = ["kind_of", "read_safetensors"]

_LONGEST_HEADER = 100_000_000
"""Bytes; the limit of safetensors itself."""
_OTHERS = {
    b"GGUF": "a GGUF file, of llama.cpp; transformers can convert it to safetensors",
    b"\x89HDF": "an HDF5 file, of Keras; convert it to PyTorch first",
    b"\x93NUMPY": "an array of NumPy, not a model",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a git-lfs pointer; run `git lfs pull`",
}


def kind_of(path: Path) -> str:
    """Return what is at a path.

    Returns:
        Of a folder `adapter` or `model`; of a file `adapter`, `onnx`, `safetensors`, `pt2`,
        `pickle` or `torchscript`.

    Raises:
        StageError: There is no such file, or it is none of these; the message says what it is.
    """
    if path.is_dir():
        adapter = any((path / name).is_file() for name in ADAPTERS)
        return "adapter" if adapter else "model"
    if not path.is_file():
        known = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise StageError(f"open: {path} does not exist{nearest(path.name, known)}")
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise StageError(f"open: cannot read {path}: {error.strerror}") from error
    if not start:
        raise StageError(f"open: {path} is empty (0 bytes); get it again")
    for magic, says in _OTHERS.items():
        if start.startswith(magic):
            raise StageError(f"open: {path} is {says}")
    if path.name in ADAPTERS:
        return "adapter"
    if start.startswith(b"PK"):
        return _kind_of_zip(path)
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return "safetensors"
    if start[:1] == b"\x80":
        return "pickle"
    if start[:1] == b"\x08":  # the tag of field 1 of ONNX's `ModelProto`, which all have
        return "onnx"
    said = "a page of the web" if start.lstrip()[:1] == b"<" else "no file of a model known here"
    raise StageError(
        f"open: {path} is {said}; expected a state_dict or module of torch.save, a .pt2, "
        "safetensors, ONNX, or an adapter of PEFT"
    )


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise StageError(f"open: {path} is cut off ({error}); get it again") from error
    if is_program(names):
        return "pt2"
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return "torchscript"
    if "data.pkl" in inside:
        return "pickle"
    raise StageError(
        f"open: {path} is a zip archive without a model of torch in it, but {', '.join(names[:4])}"
    )


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the notes in the header of a file.

    Raises:
        StageError: It is damaged.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, file.stat().st_size):
                raise ValueError("its header has an impossible length")
            header: dict[str, Any] = json.loads(stream.read(length))
        notes = header.pop("__metadata__", {})
        tensors = {
            name: Tensor(tuple(map(int, told["shape"])), _dtype(str(told["dtype"])))
            for name, told in header.items()
        }
        ends = [told["data_offsets"][1] for told in header.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"open: {file} is damaged ({error}); get it again") from error
    if 8 + length + max(ends, default=0) != file.stat().st_size:
        raise StageError(f"open: {file} is cut off; get it again")
    return tensors, notes


def _dtype(name: str) -> str:
    kinds = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint", "C": "complex"}
    for short, long in kinds.items():
        if name.startswith(short) and name.removeprefix(short).isdecimal():
            return name.replace(short, long, 1)
    return name.lower()
