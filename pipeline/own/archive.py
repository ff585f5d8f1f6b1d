"""What is in a `.pt2`, read as data: a graph in JSON, and tensors as plain bytes.

`torch.export.load` would run code: it unpickles whatever the file asks for, and evaluates its
expressions of shapes as Python. Here nothing of the file is run. Standard library only.

Source: the schema in `torch/_export/serde/schema.py`, version 8, and the names of files in
`torch/export/pt2_archive/constants.py`.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

__all__ = ["DTYPES", "is_program", "read_program", "read_values"]

DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 12: "bool", 13: "bfloat16",
}  # fmt: skip
_LAYOUTS = {7: "strided"}
_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
_SCHEMA = 8
_NAME = re.compile(r"\w+(\.\w+)*", re.ASCII)
_PLAIN = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string",
          "as_strings", "as_int_lists", "as_float_lists")  # fmt: skip
_KINDS = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}


def is_program(names: list[str]) -> bool:
    """Whether a zip with these files is one that `torch.export.save` wrote."""
    return any(re.fullmatch(r"[^/]+/models/\w+\.json", name) for name in names)


def read_program(file: Path, where: str = "model.path") -> dict[str, Any]:
    """Return the graph and the shapes, in a form that JSON can hold.

    Returns:
        `input`: the name of the image batch; `output`: that of the logits; `outputs`: how many;
        `image`: channels, height, width; `tensors`: shape, dtype and kind by name; `values`: name
        of the tensor by that of its value in the graph; `nodes`: operator, arguments,
        results, module it was called in; `types`: class name by module.

    Raises:
        StageError: It is no such file, of another version, or does what cannot be trained here;
            the message begins with `where`.
    """
    with _damage_told(file, where), zipfile.ZipFile(file) as archive:
        told = _json(archive, "models/model.json", file, where)
        kept = {
            **_payload(archive, "weights", file, where),
            **_payload(archive, "constants", file, where),
        }
        return _program(told, kept, f"{where}: {file}")
    raise AssertionError  # it is never reached: what is told is raised


def read_values(file: Path, where: str = "model.path") -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return the bytes of each tensor with its `dtype`, `shape`, `strides` and `offset`.

    Raises:
        StageError: A tensor is a pickle, or is not there.
    """
    found = {}
    with _damage_told(file, where), zipfile.ZipFile(file) as archive:
        root = archive.namelist()[0].partition("/")[0]
        for folder in ("weights", "constants"):
            for name, entry in _payload(archive, folder, file, where).items():
                path = str(entry["path_name"])
                if not _NAME.fullmatch(path) or f"{root}/data/{folder}/{path}" not in set(
                    archive.namelist()
                ):
                    raise StageError(f"{where}: {file} lacks the tensor {name}; export it again")
                meta = entry["tensor_meta"]
                found[name] = (
                    archive.read(f"{root}/data/{folder}/{path}"),
                    {
                        "dtype": DTYPES[meta["dtype"]],
                        "shape": [size["as_int"] for size in meta["sizes"]],
                        "strides": [step["as_int"] for step in meta["strides"]],
                        "offset": meta["storage_offset"]["as_int"],
                    },
                )
    return found


@contextmanager
def _damage_told(file: Path, where: str) -> Iterator[None]:
    """Turn whatever a damaged file leads to into one line."""
    try:
        yield
    except StageError:
        raise
    except (zipfile.BadZipFile, OSError) as error:
        raise StageError(f"{where}: {file} is no whole zip file ({error}); get it again") from error
    except Exception as error:  # a table that is not there, a number that is a text, ...
        raise StageError(
            f"{where}: {file} is damaged: {type(error).__name__}: {error}; export it again"
        ) from error


def _json(archive: zipfile.ZipFile, name: str, file: Path, where: str) -> dict[str, Any]:
    root = archive.namelist()[0].partition("/")[0]
    try:
        found: dict[str, Any] = json.loads(archive.read(f"{root}/{name}"))
    except KeyError as error:
        raise StageError(
            f"{where}: {file} has no {name}: it is no exported program, or one of an old torch; "
            "save it again with torch.export.save of torch 2.9 or newer"
        ) from error
    except ValueError as error:
        raise StageError(f"{where}: {file} is damaged: {name}: {error}; get it again") from error
    return found


def _payload(archive: zipfile.ZipFile, folder: str, file: Path, where: str) -> dict[str, Any]:
    """Return what the archive says of its tensors, by their names."""
    told = _json(archive, f"data/{folder}/model_{folder}_config.json", file, where)
    found: dict[str, Any] = told["config"]
    for name, entry in found.items():
        if not _NAME.fullmatch(name) or entry.get("tensor_meta") is None or entry["use_pickle"]:
            raise StageError(
                f"{where}: {file} keeps {name!r} as a pickle, which can run code; it is not read"
            )
        if entry["tensor_meta"]["dtype"] not in DTYPES:
            raise StageError(f"{where}: {file}: the tensor {name} has a type unknown here")
    return found


def _program(told: Mapping[str, Any], kept: Mapping[str, Any], where: str) -> dict[str, Any]:
    version = told["schema_version"]["major"]
    if version != _SCHEMA:
        raise StageError(
            f"{where} has version {version} of the format, and {_SCHEMA} is known; save it again "
            "with a torch from 2.9 to 2.13"
        )
    graph, signature = told["graph_module"]["graph"], told["graph_module"]["signature"]
    inputs, values, kinds = [], {}, {}
    for spec in signature["input_specs"]:
        ((kind, said),) = spec.items()
        if kind == "user_input":
            inputs.append(said["arg"]["as_tensor"]["name"])
        elif kind in _KINDS:
            values[said["arg"]["name"]] = said[_KINDS[kind]]
            kinds[said[_KINDS[kind]]] = "parameter" if kind == "parameter" else "buffer"
        else:
            raise StageError(f"{where} takes a {kind}, which is not supported")
    results = [next(iter(spec)) for spec in signature["output_specs"]]
    if "buffer_mutation" in results or any(map(_trains, graph["nodes"])):
        raise StageError(
            f"{where} was exported in train mode: its batch norm or dropout is that of training; "
            "export it after model.eval()"
        )
    if len(inputs) != 1 or results != ["user_output"]:
        raise StageError(
            f"{where} takes {len(inputs)} inputs and gives {len(results)} outputs; expected one "
            "batch of images and its logits"
        )
    output = signature["output_specs"][0]["user_output"]["arg"]["as_tensor"]["name"]
    return {
        "input": inputs[0],
        "output": output,
        "outputs": _logits(graph["tensor_values"][output], where),
        "image": _image(graph["tensor_values"][inputs[0]], where),
        "tensors": {
            name: {
                "shape": [size["as_int"] for size in kept[name]["tensor_meta"]["sizes"]],
                "dtype": DTYPES[kept[name]["tensor_meta"]["dtype"]],
                "kind": kind,
            }
            for name, kind in kinds.items()
        },
        "values": values,
        "nodes": [_node(node, where) for node in graph["nodes"]],
        "types": _types(graph["nodes"]),
    }


def _image(meta: Mapping[str, Any], where: str) -> list[int]:
    rows, *sizes = meta["sizes"]
    if len(sizes) != 3:
        raise StageError(
            f"{where} takes {len(sizes) + 1} axes, not (rows, channels, height, width)"
        )
    if "as_int" in rows:
        raise StageError(
            f"{where} was exported for batches of exactly {rows['as_int']}; export it again with "
            "dynamic_shapes=({0: torch.export.Dim('batch')},)"
        )
    return [
        size["as_int"] if "as_int" in size else size["as_expr"]["hint"]["as_int"] for size in sizes
    ]


def _logits(meta: Mapping[str, Any], where: str) -> int:
    sizes = meta["sizes"]
    if len(sizes) != 2 or "as_int" not in sizes[1]:
        raise StageError(f"{where} makes {len(sizes)} axes of images, not (rows, labels)")
    outputs: int = sizes[1]["as_int"]
    return outputs


def _trains(node: Mapping[str, Any]) -> bool:
    """Whether a batch norm or a dropout is in train mode."""
    kind = str(node["target"]).removeprefix("torch.ops.aten.").partition(".")[0]
    if not kind.rstrip("_").endswith(("batch_norm", "dropout")):
        return False
    return any(
        each["name"] in ("training", "train") and each["arg"].get("as_bool")
        for each in node["inputs"]
    )


def _node(node: Mapping[str, Any], where: str) -> list[Any]:
    target = str(node["target"]).removeprefix("torch.ops.")
    arguments = [
        [None if each.get("kind") == 1 else each["name"], _argument(each["arg"], target, where)]
        for each in node["inputs"]
    ]
    made = [_result(each) for each in node["outputs"]]
    stack = _stack(node)
    return [target, arguments, made[0] if len(made) == 1 else made, stack[-1][0] if stack else ""]


def _argument(told: Mapping[str, Any], target: str, where: str) -> Any:
    ((kind, said),) = told.items()
    if kind == "as_none":
        return None
    if kind in _PLAIN:
        return said
    if kind == "as_tensor":
        return {"value": said["name"]}
    if kind == "as_tensors":
        return [{"value": each["name"]} for each in said]
    if kind == "as_optional_tensor":
        return _argument(said, target, where)
    if kind == "as_optional_tensors":
        return [_argument(each, target, where) for each in said]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _symbol(said)
    if kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools"):
        return [_symbol(each) for each in said]
    if kind == "as_device":
        return {"device": True}  # that of the images, wherever it was exported
    for name, known in (("scalar_type", DTYPES), ("layout", _LAYOUTS), ("memory_format", _FORMATS)):
        if kind == f"as_{name}" and said in known:
            return {"torch": known[said]}
    raise StageError(
        f"{where}: {target} is given a {kind.removeprefix('as_')}, which is not supported"
    )


def _symbol(told: Mapping[str, Any]) -> Any:
    ((kind, said),) = told.items()
    return {"value": said} if kind == "as_name" else said


def _result(told: Mapping[str, Any]) -> Any:
    ((kind, said),) = told.items()
    if kind == "as_tensor":
        return said["name"]
    if kind in ("as_tensors", "as_optional_tensors"):
        return [_result(each) if "name" not in each else each["name"] for each in said]
    return said.get("as_name") if isinstance(said, Mapping) else None


def _types(nodes: list[Mapping[str, Any]]) -> dict[str, str]:
    """Return the class names of the modules that the program was made of."""
    return {path: kind for node in nodes for path, kind in _stack(node) if kind.isidentifier()}


def _stack(node: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return path and class name of the modules that an operator was called in, outermost first."""
    found = []
    for each in node["metadata"].get("nn_module_stack", "").split(";"):
        parts = each.split(",")
        path = parts[1].partition("@")[0] if len(parts) == 3 else ""  # @1 is a second call
        if _NAME.fullmatch(path) and not path.startswith("_"):  # torch notes its own passes so
            found.append((path, parts[2].rpartition(".")[2]))
    return found
