"""Models, adapters, checkpoints and graphs of a stranger's, made to run code or break readers."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from reliability.arena import CANARY, Attack

__all__ = ["at_adapters", "at_checkpoints", "at_graphs", "at_models"]

Files = dict[str, bytes]
LABELS = ("a", "b")


def _evil(place: Path) -> bytes:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.mkdir, (str(place / CANARY),)

    return pickle.dumps(Evil())


def _evil_archive(place: Path) -> bytes:
    """Return a file as `torch.save` writes it, with the pickle in it."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", _evil(place))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return buffer.getvalue()


def _json(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


def _safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _clean(function: Callable[[], object]) -> None:
    """Leave as the command line does: one line and an exit code."""
    from pipeline.errors import PipelineError

    try:
        function()
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from error


def _load_model(place: Path) -> None:
    from pipeline.build import build_stage

    settings = {
        "_target_": "pipeline.model.Local", "path": str(place / "m"), "dropout": None,
        "task": "sequence_classification", "weights": "full", "allow_pickle": (
            place / "allow").exists(),
    }  # fmt: skip
    stage = cast(Any, build_stage("model", settings))
    (place / "outputs").mkdir()

    def load() -> None:
        base = stage.run(None, place / "outputs")
        base.load_tokenizer()("number one")
        base.load(LABELS)

    _clean(load)


def at_models(base: Mapping[str, bytes]) -> list[Attack]:
    """Load a folder in the transformers layout with something wrong in it.

    Args:
        base: The files of a good one.
    """
    config = json.loads(base["config.json"])
    tokenizer = json.loads(base["tokenizer_config.json"])
    weights = base["model.safetensors"]
    code = "open({canary!r}, 'w').close()\nclass Evil: ...\n"

    def with_config(**keys: Any) -> Files:
        return {"config.json": _json(**config | keys), "evil.py": code.encode()}

    def with_tokenizer(**keys: Any) -> Files:
        return {"tokenizer_config.json": _json(**tokenizer | keys), "evil.py": code.encode()}

    def header(**keys: Any) -> Files:
        return {"model.safetensors": _safetensors(_json(**keys), b"\0" * 64)}

    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    changed: dict[str, Files] = {
        "auto_map of the config": with_config(auto_map={"AutoConfig": "evil.Evil"}),
        "auto_map of the model": with_config(auto_map={"AutoModel": "evil.Evil"}),
        "auto_map of another repository": with_config(auto_map={"AutoConfig": "org/x--evil.Evil"}),
        "auto_map deep inside": with_config(text_config={"auto_map": {"AutoConfig": "evil.Evil"}}),
        "trust in the config": with_config(trust_remote_code=True, model_type="evil"),
        "a kernel": with_config(_attn_implementation="org/kernel"),
        "a kernel without underscore": with_config(attn_implementation="org/kernel"),
        "an internal kernel": with_config(_attn_implementation_internal="org/kernel"),
        "a kernel of a part": with_config(text_config={"_attn_implementation": "org/kernel"}),
        "a kernel by a dict": with_config(_attn_implementation={"": "org/kernel"}),
        "kernels": with_config(use_kernels=True, kernel_config={"Linear": "org/kernel:X"}),
        "another name": with_config(_name_or_path="org/other", name_or_path="org/other"),
        "another file of weights": with_config(transformers_weights="../../outside.bin"),
        "quantisation by a module": with_config(quantization_config={"quant_method": "evil"}),
        "a type that is a path": with_config(model_type="../../evil"),
        "an architecture that is a module": with_config(architectures=["os.system"]),
        "an activation that is code": with_config(hidden_act="__import__('os').system('x')"),
        "a size beyond reason": with_config(hidden_size=10**15),
        "a negative size": with_config(hidden_size=-1),
        "no heads": with_config(num_attention_heads=0),
        "a config that is a list": {"config.json": b"[1]"},
        "a config that is deep": {"config.json": b"[" * 100_000},
        "a config that is a pickle": {"config.json": pickle.dumps({})},
        "a tokenizer with code": with_tokenizer(auto_map={"AutoTokenizer": ["evil.Evil", None]}),
        "a tokenizer of a module": with_tokenizer(tokenizer_class="evil.Evil"),
        "a chat template": with_tokenizer(
            chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "a tokenizer elsewhere": with_tokenizer(tokenizer_file="../../../etc/passwd"),
        "a tokenizer that is a pickle": {"tokenizer.json": pickle.dumps({})},
        "a tokenizer without a model": {"tokenizer.json": b"{}"},
        "weights that are a pickle": {"model.safetensors": b"\x80\x04evil."},
        "empty weights": {"model.safetensors": b""},
        "weights cut short": {"model.safetensors": weights[:-1]},
        "half of the weights": {"model.safetensors": weights[: len(weights) // 2]},
        "a header beyond the file": {"model.safetensors": _safetensors(b"{}", length=2**62)},
        "a header of 100 MB": {"model.safetensors": _safetensors(b"{}", length=10**8 + 1)},
        "a header that is no JSON": {"model.safetensors": _safetensors(b"{evil")},
        "a header that is deep": {"model.safetensors": _safetensors(b'{"a":' + b"[" * 50_000)},
        "offsets outside": header(x=one | {"data_offsets": [0, 10**12]}),
        "offsets backwards": header(x=one | {"data_offsets": [16, 0]}),
        "offsets that overlap": header(x=one, y=one),
        "a shape that overflows": header(x=one | {"shape": [2**62, 2**62]}),
        "an unknown kind of number": header(x=one | {"dtype": "EVIL"}),
        "weights of nothing": header(x=one | {"shape": [16]}),
        "shards elsewhere": {
            "model-00001-of-00001.safetensors": weights,
            "model.safetensors.index.json": _json(
                metadata={}, weight_map={"x": "../../outside.safetensors"}),
        },
    }  # fmt: skip

    def prepare(files: Files, *, gone: tuple[str, ...] = ()) -> Callable[[Path], None]:
        def lay(place: Path) -> None:
            folder = place / "m"
            folder.mkdir()
            whole = {name: content for name, content in base.items() if name not in gone}
            for name, content in (whole | files).items():
                told = content.replace(b"{canary!r}", repr(str(place / CANARY)).encode())
                (folder / name).write_bytes(told)

        return lay

    shards = ("model.safetensors",)
    made = [
        Attack(
            family="files", name=f"a model with {name}", act=_load_model,
            prepare=prepare(files, gone=shards if name == "shards elsewhere" else ()),
        )
        for name, files in changed.items()
    ]  # fmt: skip
    return [*made, *_pickles(prepare), _kept(base)]


def _pickles(prepare: Callable[..., Callable[[Path], None]]) -> list[Attack]:
    def with_pickle(
        names: tuple[str, ...], *, allow: bool = False, beside: bool = False, archive: bool = False
    ) -> Callable[[Path], None]:
        def lay(place: Path) -> None:
            prepare({}, gone=() if beside else ("model.safetensors",))(place)
            for name in names:
                content = _evil_archive(place) if archive else _evil(place)
                (place / "m" / name).write_bytes(content)
            if allow:
                (place / "allow").touch()

        return lay

    only, many = ("pytorch_model.bin",), ("pytorch_model-00001-of-00002.bin",)
    beside = ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt")
    typed = (
        "+recipe=lora_bert", "model=local", "model.path=m", "model.allow_pickle=true", "data=none",
        "finetune=none", "visualize.open=never", "visualize.pictures=never",
    )  # fmt: skip
    asked: list[tuple[str, dict[str, Any]]] = [
        ("a pickle", {"names": only}),
        ("a pickle as torch writes it", {"names": only, "archive": True}),
        ("pickles in parts", {"names": many}),
        ("pickles beside safetensors", {"names": beside, "beside": True}),
        ("a pickle that is allowed", {"names": only, "allow": True}),
        ("a pickle in an archive that is allowed", {"names": only, "allow": True, "archive": True}),
    ]
    made = [
        Attack(family="files", name=name, act=_load_model, prepare=with_pickle(**given))
        for name, given in asked
    ]
    return made + [
        Attack(
            family="files", name=f"{name}, and a variable that forbids care", arguments=typed,
            environment={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
            prepare=with_pickle(only, archive=archive), says="error: ",
        )
        for name, archive in (("a pickle", False), ("a pickle in an archive", True))
    ]  # fmt: skip


def _kept(base: Mapping[str, bytes]) -> Attack:
    def prepare(place: Path) -> None:
        (place / "m").mkdir()
        (place / "away").mkdir()
        for name, content in base.items():
            (place / "away" / name).write_bytes(content)
            (place / "m" / name).symlink_to(place / "away" / name)  # as the hub's own cache does

    return Attack(family="files", name="a model of links", act=_load_model, prepare=prepare)


def at_adapters(base: Any, adapter: Path) -> list[Attack]:
    """Load an adapter in PEFT's format with something wrong in it.

    Args:
        base: The model it belongs to.
        adapter: A good one.
    """
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    changes: dict[str, dict[str, Any]] = {
        "another base": {"base_model_name_or_path": "org/evil"},
        "a mapping to a module": {"auto_mapping": {
            "base_model_class": "Evil", "parent_library": "evil_module"}},
        "a module for its core": {"megatron_core": "evil_module", "megatron_config": {"a": 1}},
        "an unknown kind": {"peft_type": "EVIL"},
        "a kind that is a module": {"peft_type": "os.system"},
        "an unknown field": {"evil": {"_target_": "os.system"}},
        "a rank beyond reason": {"r": 10**12},
        "a pattern that never ends": {"target_modules": "(a+)+$"},
        "a start from elsewhere": {"init_lora_weights": "evil_module"},
    }  # fmt: skip

    def act(place: Path) -> None:
        sys.path.append(str(place))
        _clean(lambda: base.load_adapter(LABELS, place / "a"))

    def lay(change: dict[str, Any], pickled: bool = False) -> Callable[[Path], None]:
        def prepare(place: Path) -> None:
            shutil.copytree(adapter, place / "a")
            (place / "a/adapter_config.json").write_bytes(_json(**config | change))
            (place / "evil_module.py").write_text(f"open({str(place / CANARY)!r}, 'w').close()\n")
            if pickled:
                (place / "a/adapter_model.safetensors").unlink()
                (place / "a/adapter_model.bin").write_bytes(_evil_archive(place))

        return prepare

    made = [
        Attack(family="files", name=f"an adapter with {name}", act=act, prepare=lay(change))
        for name, change in changes.items()
    ]
    pickled = Attack(
        family="files", name="an adapter that is a pickle", act=act, prepare=lay({}, pickled=True)
    )
    return [*made, pickled]


def at_checkpoints() -> list[Attack]:
    """Lay a pickle into the folder that a training goes on from."""
    names = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin",
             "custom_checkpoint_0.pkl", "trainer_state.json", "state.json")  # fmt: skip

    def act(place: Path) -> None:
        from pipeline.finetune.checkpoints import Checkpoints

        def find() -> None:
            found = Checkpoints(place / "c", place / "metrics.jsonl").latest()
            assert found is None, found

        shutil.move(place / "c", place / "outputs")  # what it sets aside is its own
        (place / "c").symlink_to(place / "outputs")
        _clean(find)
        (place / "c").unlink()
        shutil.move(place / "outputs", place / "c")
        for each in (place / "c").glob("*.damaged"):
            each.rename(str(each).removesuffix(".damaged"))

    def lay(name: str) -> Callable[[Path], None]:
        def prepare(place: Path) -> None:
            folder = place / "c/checkpoint-1"
            folder.mkdir(parents=True)
            (folder / name).write_bytes(_evil(place))

        return prepare

    return [
        Attack(family="files", name=f"a checkpoint with {name}", act=act, prepare=lay(name))
        for name in names
    ]


def at_graphs() -> list[Attack]:
    """Open a view whose graph names a file elsewhere."""
    places = ("../../outside", "/etc/passwd", "sub/../../../outside", "link", "linked/outside", "")

    def act(place: Path) -> None:
        from pipeline.visualize import graph

        shown = place / "outputs/models/adapted.onnx"
        shown.parent.mkdir(parents=True)

        def put() -> None:
            file = place / "v/models/adapted.onnx"
            graph.put(graph.read(file), file, shown, weights=True)
            assert not any(b"secret" in each.read_bytes() for each in shown.parent.iterdir())

        _clean(put)

    def lay(location: str) -> Callable[[Path], None]:
        def prepare(place: Path) -> None:
            import onnx

            models = place / "v/models"
            models.mkdir(parents=True)
            (place / "outside").write_bytes(b"secret" * 10)
            (models / "link").symlink_to(place / "outside")
            (models / "linked").symlink_to(place)
            tensor = onnx.TensorProto(
                name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL
            )
            for key, value in {"location": location, "offset": "0", "length": "16"}.items():
                tensor.external_data.add(key=key, value=value)
            info = onnx.helper.make_tensor_value_info("w", 1, [4])
            node = onnx.helper.make_node("Identity", ["w"], ["y"])
            out = onnx.helper.make_tensor_value_info("y", 1, [4])
            inner = onnx.helper.make_graph([node], "g", [], [info, out], [tensor])
            (models / "adapted.onnx").write_bytes(onnx.helper.make_model(inner).SerializeToString())

        return prepare

    return [
        Attack(family="files", name=f"a graph with data in {place!r}", act=act, prepare=lay(place))
        for place in places
    ]
