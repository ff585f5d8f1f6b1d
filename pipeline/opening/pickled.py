"""What a pickle of torch holds, read without running any of it.

A pickle is a program that calls what it names. Here every name it asks for stands for something
inert of ours, which remembers the name and what it was called with. Standard library only.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

__all__ = ["HARMLESS", "Held", "Tensor", "read_pickle"]

_MAGIC = 0x1950A86A20F9469CFC6C
"""The first of the pickles in a file that torch wrote before it used zip."""
_DTYPES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "Untyped": "bytes",
}  # fmt: skip
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's shape and type; its values are elsewhere in the file."""

    shape: tuple[int, ...]
    dtype: str
    parameter: bool = False

    @property
    def size(self) -> int:
        """How many numbers it has."""
        size = 1
        for each in self.shape:
            size *= each
        return size


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What is in the file."""

    kind: str
    """`state_dict`, `module` or `other`."""
    tensors: Mapping[str, Tensor]
    """By their names in a state_dict."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Class path by the name of the module, of a whole module; "" is the module itself."""
    asks_for: tuple[str, ...] = ()
    """What it would import beyond the parts of tensors, sorted."""
    beside: tuple[str, ...] = ()
    """Keys that lie beside the weights, such as `optimizer`."""


def read_pickle(file: Path) -> Held:
    """Return what is in a file that `torch.save` wrote.

    Raises:
        StageError: It is no such file, or is damaged.
    """
    try:
        unpickler = _Unpickler(BytesIO(_bytes(file)))
        root = unpickler.load()
        if root == _MAGIC:
            for _ in ("protocol", "system", "object"):
                root = unpickler.load()
    except StageError:
        raise
    except Exception as error:  # a damaged pickle may do anything that ours allow, which is little
        raise StageError(
            f"open: {file} is damaged, or no pickle of torch ({type(error).__name__}); get it again"
        ) from error
    return _held(root, unpickler.asked)


def _bytes(file: Path) -> bytes:
    if not zipfile.is_zipfile(file):
        return file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        return archive.read(name)


def _held(root: Any, asked: Mapping[str, None]) -> Held:
    names = tuple(sorted(name for name in asked if not _of_tensors(name)))
    if isinstance(root, _Inert) and isinstance(root.state, Mapping) and "_modules" in root.state:
        modules = dict(_modules(root, "", 0))
        tensors = {}
        for name, module in modules.items():
            for table in ("_parameters", "_buffers"):
                held = module.state.get(table)
                for key, value in held.items() if isinstance(held, Mapping) else ():
                    if isinstance(value, Tensor):
                        tensors[f"{name}.{key}" if name else str(key)] = value
        paths = {name: module.path for name, module in modules.items()}
        return Held(kind="module", tensors=tensors, modules=paths, asks_for=names)
    found = _by_name(root)
    inside = {key: _by_name(value) for key, value in _items(root)} if not found else {}
    chosen = max(inside, key=lambda key: len(inside[key]), default=None)
    if chosen is not None and inside[chosen]:
        beside = tuple(key for key in inside if key != chosen)
        return Held(kind="state_dict", tensors=inside[chosen], asks_for=names, beside=beside)
    kind = "state_dict" if found else "other"
    return Held(kind=kind, tensors=found, asks_for=names)


def _by_name(held: Any) -> dict[str, Tensor]:
    return {str(key): value for key, value in _items(held) if isinstance(value, Tensor)}


def _items(held: Any) -> list[tuple[str, Any]]:
    return [(str(key), value) for key, value in held.items()] if isinstance(held, Mapping) else []


def _modules(module: _Inert, name: str, depth: int) -> Iterator[tuple[str, _Inert]]:
    yield name, module
    inside = module.state.get("_modules")
    for key, child in inside.items() if isinstance(inside, Mapping) else ():
        whole = isinstance(child, _Inert) and isinstance(child.state, Mapping)
        if whole and depth < _DEEPEST:
            yield from _modules(child, f"{name}.{key}" if name else str(key), depth + 1)


def _of_tensors(name: str) -> bool:
    return (
        name in _KNOWN
        or name.startswith(("torch._utils._rebuild_", "torch._tensor."))
        or (
            name.startswith("torch.") and name.count(".") == 1  # storages and types of numbers
        )
    )


class _Inert:
    """In place of whatever a pickle names, makes or calls."""

    path = ""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        made = super().__new__(cls)
        made.state = None
        return made

    state: Any

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *_: Any, **__: Any) -> _Inert:
        return _Inert()

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...

    def add(self, value: Any) -> None: ...


class _Table(dict[Any, Any]):
    """In place of an `OrderedDict`, which may have a state of its own."""

    def __setstate__(self, state: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str


def _tensor(storage: Any, _: Any, shape: Any, *more: Any) -> Tensor:
    kinds = [each.path for each in more if isinstance(each, type) and issubclass(each, _Inert)]
    dtype = kinds[0].rpartition(".")[2] if kinds else storage.dtype
    return Tensor(tuple(map(int, shape)), dtype)


def _parameter(tensor: Any, *_: Any) -> Any:
    return Tensor(tensor.shape, tensor.dtype, parameter=True) if _is(tensor) else _Inert()


def _set(*_: Any) -> list[Any]:
    """Return a list: what a damaged file puts into a set might have no hash."""
    return []


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": _Table,
    "collections.defaultdict": lambda *_: _Table(),
    "__builtin__.set": _set,
    "builtins.set": _set,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}


HARMLESS = frozenset(_KNOWN)
"""What a pickle may name and torch's own restricted loading knows as well: containers, tensors."""


class _Unpickler(pickle._Unpickler):  # Python's own: no number in a file makes its memo grow
    """Finds nothing but `_KNOWN` and inert classes."""

    def __init__(self, stream: BytesIO) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self.asked: dict[str, None] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        self.asked[path] = None
        return _KNOWN.get(path) or type(str(name), (_Inert,), {"path": path})

    def persistent_load(self, told: Any) -> Any:
        if isinstance(told, tuple) and told[:1] == ("module",):  # a class, with its source
            return told[1]
        kind = told[1] if isinstance(told, tuple) and len(told) > 1 else None
        name = getattr(kind, "path", "").rpartition(".")[2].removesuffix("Storage")
        return _Storage(_DTYPES.get(name, name.lower() or "unknown"))
