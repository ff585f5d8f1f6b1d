"""`open FILE` says what a file of a model holds, runs nothing of it, and draws what has a graph."""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import onnx
import pytest
import torch
from conftest import Compose
from forked import Child, command_line, fork, start, wait
from torch import nn

from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.build import build_stage
from pipeline.consent import forget_consent, keep_consent
from pipeline.errors import ConfigError, StageError
from pipeline.opening import Asked, is_model, opened
from pipeline.opening.pickled import read_pickle
from pipeline.own.cnn import Cnn

MINE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_labels=10, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, images):
        return self.classifier(self.body(images).mean((2, 3)))
"""


class Evil:
    def __reduce__(self) -> Any:
        return os.mknod, ("canary",)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a class of the user's in it and no consent."""
    (tmp_path / "my_net.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    forget_consent()
    yield tmp_path
    forget_consent()
    sys.modules.pop("my_net", None)


def said(*arguments: str) -> str:
    """Return what is said of a file that has no picture."""
    found = opened(Asked.read(arguments), Path("nowhere"))
    assert not found.drawn
    return "\n".join(found.lines)


def drawn(*arguments: str) -> tuple[str, onnx.ModelProto, Path]:
    """Return what is said of a file, its graph, and the folder that shows it."""
    folder = Path(f"shown{len(list(Path().glob('shown*')))}")
    folder.mkdir()
    found = opened(Asked.read(arguments), folder)
    assert found.drawn
    assert (folder / "index.html").is_file()
    assert (folder / "netron" / "index.html").is_file()
    graph = onnx.load(folder / "models" / "adapted.onnx", load_external_data=False)
    return "\n".join(found.lines), graph, folder


def refused(*arguments: str) -> str:
    with pytest.raises((StageError, ConfigError)) as caught:
        opened(Asked.read(arguments), Path("nowhere"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(graph: onnx.ModelProto) -> set[str]:
    return {node.name for each in (graph.graph, *graph.functions) for node in each.node}


def net(**arguments: int) -> nn.Module:
    module: nn.Module = importlib.import_module("my_net").Net(**arguments).eval()
    return module


# What is said.


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors", "checkpoint"])
def test_a_state_dict_tells_names_shapes_and_that_it_has_no_graph(form: str) -> None:
    from safetensors.torch import save_file

    values = net().half().state_dict()
    file = "w.safetensors" if form == "safetensors" else "w.pth"
    if form == "safetensors":
        save_file(values, file)
    elif form == "checkpoint":
        optimizer = torch.optim.Adam(net().parameters()).state_dict()
        torch.save({"epoch": 7, "optimizer": optimizer, "state_dict": values}, file)
    else:
        torch.save(values, file, _use_new_zipfile_serialization=form == "zip")
    told = said(file)
    total = sum(value.numel() for value in values.values())
    assert f"{len(values)} tensors, {total} numbers" in told
    assert "float16" in told
    assert "int64" in told
    assert "  body.0.weight               (8, 1, 3, 3)" in told
    assert "no graph" in told
    assert f"open {file} class_path=my_net.Net allow_code=my_net" in told
    assert ("beside the weights: epoch, optimizer" in told) == (form == "checkpoint")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_module_tells_its_classes_and_is_not_loaded(legacy: bool) -> None:
    torch.save(net(), "whole.pth", _use_new_zipfile_serialization=not legacy)
    sys.modules.pop("my_net")
    told = said("whole.pth")
    assert "a whole module of the class my_net.Net" in told
    assert "body.0  torch.nn.modules.conv.Conv2d" in told
    assert "9 tensors" in told
    assert "body.1.running_var" in told
    assert "so it was not loaded" in told
    assert "open whole.pth allow_code=my_net" in told
    assert "my_net" not in sys.modules


def test_an_adapter_tells_its_kind_rank_and_targets(adapted: AdaptedModel) -> None:
    for path in (adapted.folder, adapted.folder / "adapter_config.json"):
        told = said(str(path))
        assert "an adapter of PEFT, LORA" in told
        assert "r: 8" in told
        assert "target_modules: query, value" in told
        assert "encoder.layer.0.attention.self.query.lora_A.weight" in told
    told = said(str(adapted.folder / "adapter_model.safetensors"))
    assert "By its names it is an adapter" in told
    assert is_model(adapted.folder)


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("none", "the weights of full fine-tuning, before any training, of"),
        ("bitfit", "the biases of BitFit, and a head, before any training, of"),
        ("head_only", "the head alone, before any training, of"),
        ("bottleneck", "bottleneck adapters, before any training, of"),
    ],
)
def test_an_adapter_that_peft_has_no_kind_for_tells_what_it_is(
    option: str, what: str, base: BaseModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    stage: Any = build_stage("adapter", composed(f"adapter={option}")["adapter"])
    (folder := tmp_path / "made").mkdir()
    stage.run((base, examples), folder)
    assert is_model(folder)
    for path in (folder, folder / "partial_config.json"):
        told = said(str(path))
        assert ("non_linearity" in told) is (option == "bottleneck")
        assert what in told
        assert "which PEFT does not read" in told
        assert "  head: classifier" in told
        assert "base_model.model.classifier.weight" in told
        assert f"adapter={option} finetune=none" in told
    (folder / "adapter_model.safetensors").unlink()
    assert "without weights" in said(str(folder))
    (folder / "partial_config.json").write_text("{}")
    with pytest.raises(StageError, match=r"^open: .*partial_config\.json is damaged"):
        said(str(folder))


def test_a_torchscript_program_says_what_shows_it() -> None:
    scripted: Any = torch.jit.script(nn.Linear(2, 2))
    scripted.save("script.pt")
    assert "Netron shows" in said("script.pt")


@pytest.mark.slow
def test_files_without_a_picture_need_no_torch() -> None:
    torch.save(net().state_dict(), "w.pth")
    torch.save(net(), "whole.pth")
    (Path("page.pth")).write_text("<!doctype html>")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.opening import Asked, opened\n"
        "for name in ('w.pth', 'whole.pth'):\n"
        "    opened(Asked.read([name]), Path())\n"
        "assert not {'torch', 'transformers', 'onnx'} & set(sys.modules)\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - started < 5  # a fraction of a second on an idle machine


# Nothing is run.


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_told_and_not_run(protocol: int, legacy: bool) -> None:
    pickle.loads(pickle.dumps(Evil(), protocol))  # noqa: S301 - it is live
    Path("canary").unlink()
    values = {"w": torch.ones(2, 3), "evil": Evil()}
    torch.save(
        values, "evil.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy
    )
    told = said("evil.pth")
    assert "w  (2, 3)" in told
    assert "would also call posix.mknod; nothing of it was run" in told
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    "attack",
    [
        b"cos\nmknod\n(S'canary'\ntR.",
        b"(S'canary'\nios\nmknod\n.",
        b"\x80\x04\x8c\x02os\x8c\x05mknod\x93\x8c\x06canary\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x1e__import__('os').mknod('canary')\x85R.",
        b"\x80\x04\x8c\x0bcollections\x8c\x21OrderedDict.__class__.__mro__.eval\x93.",
        b"\x80\x02r\xff\xff\xff\x7f.",  # a memo of two thousand million places
        b"\x80\x02(" + b"l" * 10 + b".",
    ],
)
def test_crafted_pickles_run_nothing(attack: bytes) -> None:
    Path("evil.pth").write_bytes(attack if attack[:1] == b"\x80" else b"\x80\x02" + attack)
    with suppress(StageError):  # most of them are damaged in some way
        read_pickle(Path("evil.pth"))
    assert not Path("canary").exists()


@pytest.mark.slow
def test_a_whole_module_with_consent_is_drawn_and_with_more_in_it_refused() -> None:
    torch.save(net(), "whole.pth")
    keep_consent(["my_net"])
    told, graph, _ = drawn("whole.pth")
    assert "Drawn as Net" in told
    assert {"classifier"} <= names(graph)
    bad: Any = net()
    bad.evil = Evil()
    torch.save(bad, "evil.pth")
    said_of_it = refused("evil.pth")
    assert "would also call posix.mknod, which allow_code=my_net does not allow" in said_of_it
    assert not Path("canary").exists()


# What is drawn.


@pytest.mark.slow
def test_a_state_dict_with_its_class_is_drawn_with_the_blocks_folded(here: Path) -> None:
    torch.save(Cnn(num_labels=7).state_dict(), "w.pth")
    told, graph, folder = drawn("w.pth", "class_path=pipeline.own.cnn.Cnn")
    assert "Drawn as Cnn" in told
    assert "no graph" not in told
    assert {"blocks.0", "blocks.0.conv", "hidden", "classifier"} <= names(graph)
    assert {each.name for each in graph.graph.initializer} >= set(dict(Cnn().named_parameters()))
    outputs = graph.graph.output[0].type.tensor_type.shape.dim
    assert outputs[1].dim_value == 7  # as the head in the file
    placement = json.loads((folder / "placement.json").read_text())
    assert placement["frozen"] == sum(value.numel() for value in Cnn(num_labels=7).parameters())


def test_a_class_of_the_users_needs_consent_and_must_fit_the_file() -> None:
    torch.save(net(width=4).state_dict(), "w.pth")
    assert "add allow_code=my_net" in refused("w.pth", "class_path=my_net.Net")
    keep_consent(["my_net"])
    told = refused("w.pth", "class_path=my_net.Net")
    assert "w.pth is not of Net: 7 of 9 weights differ, first: body.0.weight" in told
    drawn("w.pth", "class_path=my_net.Net", 'kwargs={"width": 4}', "image_size=12")


@pytest.mark.slow
def test_weights_with_the_config_of_transformers_are_drawn(composed: Compose) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    settings = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        vocab_size=97, num_labels=3,
    )  # fmt: skip
    model = BertForSequenceClassification(settings)
    model.save_pretrained("bert")
    torch.save(model.state_dict(), "w.pth")
    told, graph, _ = drawn("w.pth", "config=bert")
    assert "Drawn as BertForSequenceClassification" in told
    assert "bert.encoder.layer.1.attention.self.query" in names(graph)
    assert is_model(Path("bert"))
    assert "does not say which class" in _without(Path("bert"), "architectures")


def _without(folder: Path, key: str) -> str:
    file = folder / "config.json"
    told = json.loads(file.read_text())
    del told[key]
    file.write_text(json.dumps(told))
    return refused(str(folder))


@pytest.mark.slow
def test_our_own_folders_are_drawn(composed: Compose) -> None:
    stage: Any = build_stage("model", composed("model=cnn")["model"])
    Path("made").mkdir()
    stage.run(None, Path("made"))
    _, graph, _ = drawn("made")
    assert "blocks.1.conv" in names(graph)


@pytest.mark.slow
def test_a_program_is_drawn_with_the_modules_it_was_made_of() -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Cnn().eval(), (torch.zeros(2, 1, 28, 28),), dynamic_shapes=shapes)
    torch.export.save(program, "net.pt2")
    told, graph, folder = drawn("net.pt2")
    assert "images (1, 28, 28) in, 10 outputs" in told
    assert "2 aten.conv2d.default" in told
    assert {"blocks.0", "blocks.0.conv", "blocks.0.norm", "classifier"} <= names(graph)
    told, again, _ = drawn(str(folder / "models" / "adapted.onnx"))  # ONNX is shown as it is
    assert "shown as it is" in told
    assert names(again) == names(graph)


# Wrong files.


def zipped(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "held", "message"),
    [
        ("w.pth", b"", "is empty (0 bytes)"),
        ("w.pth", b"GGUF\x03", "is a GGUF file, of llama.cpp"),
        ("w.pth", b"\x89HDF\r\n", "is an HDF5 file"),
        ("w.pth", b"<!DOCTYPE html>", "is a page of the web"),
        ("w.pth", b"version https://git-lfs.github.com/spec/v1", "run `git lfs pull`"),
        ("w.pth", b"\x80\x02cut", "is damaged, or no pickle of torch"),
        ("w.pth", b"PK\x03\x04cut off", "is cut off"),
        ("w.pth", zipped(readme="hello"), "without a model of torch in it, but readme"),
        ("w.pth", zipped(**{"a/data.pkl": "\x80\x02cut"}), "is damaged, or no pickle"),
        ("w.txt", b"hello", "is no file of a model known here"),
        ("w.safetensors", b"\xff" * 20, "is damaged (its header has an impossible length)"),
        ("w.safetensors", b"\x02\0\0\0\0\0\0\0[]", "is damaged"),
        ("w.onnx", b"hello", "is not an ONNX file"),
        ("w.onnx", b"\x08\x07", "its graph is empty"),
        ("adapter_config.json", b"{", "is damaged or not there"),
    ],
)
def test_a_wrong_file_gets_one_line(name: str, held: bytes, message: str) -> None:
    Path(name).write_bytes(held)
    Path("nowhere").mkdir()
    assert message in refused(name)


def test_a_file_that_was_cut_off_says_so() -> None:
    from safetensors.torch import save_file

    save_file(net().state_dict(), "w.safetensors")
    Path("w.safetensors").write_bytes(Path("w.safetensors").read_bytes()[:-4])
    assert "is cut off" in refused("w.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.pth"], "nope.pth does not exist"),
        (["my_net.pth"], "did you mean 'my_net.py'"),
        (["w.pth", "clas_path=a.B"], "unknown key 'clas_path'; did you mean 'class_path'"),
        (["w.pth", "70000"], "a port up to 65535; got '70000'"),
        (["w.pth", "image_size=0"], "image_size must be a whole number from 1 to 4096"),
        (["w.pth", "kwargs=[1]"], "kwargs must be an object"),
        (["w.pth", "kwargs={"], "kwargs is not JSON"),
        (["w.pth", "class_path=a.B", "config=c"], "give class_path or config, not both"),
        (["w.pth", "config=nowhere"], "no such folder"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(arguments: list[str], message: str) -> None:
    torch.save(net().state_dict(), "w.pth")
    assert message in refused(*arguments)


# The command.


@pytest.mark.slow
def test_the_command_serves_the_graph_until_it_is_stopped(here: Path) -> None:
    torch.save(net().state_dict(), "w.pth")
    ended = fork(command_line("open", "w.pth"), cwd=here)
    assert (ended.code, ended.stderr) == (0, "")
    assert "no graph" in ended.stdout
    line = command_line("open", "w.pth", "class_path=my_net.Net", "allow_code=my_net")
    child = start(line, cwd=here)
    try:
        address = until(child, lambda text: text.partition("The graph is at ")[2].split()[0])
        with urlopen(address) as page:  # noqa: S310 - of this machine
            assert b"Net" in page.read()
    finally:
        os.kill(child.pid, signal.SIGINT)
    assert wait(child).code == 0


def until(child: Child, find: Callable[[str], str]) -> str:
    """Wait for a line that the process says."""
    for _ in range(600):
        text = (child.folder / "stdout").read_text() if (child.folder / "stdout").exists() else ""
        if "Press Ctrl-C" in text:
            return find(text)
        time.sleep(0.1)
    raise AssertionError((child.folder / "stderr").read_text())


def test_a_mistake_of_the_command_is_exit_code_2(here: Path) -> None:
    ended = fork(command_line("open", "nope.pth"), cwd=here)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: open: nope.pth does not exist")
    ended = fork(command_line("open", "nope"), cwd=here)
    assert "give a run folder" in ended.stderr
