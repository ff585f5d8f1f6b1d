"""What did not change is not made again: whole runs by the command line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import forked
import pytest
from conftest import write_rows

from pipeline import describe
from pipeline.seal import flaw

pytestmark = pytest.mark.slow

STAGES = ["model", "data", "adapter", "finetune", "export", "visualize"]
QUIET = ["visualize.pictures=never", "visualize.open=never"]
RECIPE = ["+recipe=lora_bert", "model=random_bert", "data=jsonl", *QUIET]
TRAINED = [*RECIPE, "data.train=rows.jsonl", "finetune.num_train_epochs=1"]
SHORT = [*RECIPE, "data.train=rows.jsonl", "finetune=none"]
Change = Callable[[], None]


def run(
    home: Path,
    *arguments: str,
    change: Change | None = None,
    environment: dict[str, str | None] | None = None,
) -> forked.Ended:
    """Run the command line in a fork; `change` is called in it first."""

    def changed() -> None:
        if change is not None:
            change()
        forked.command_line(*arguments)()

    return forked.fork(changed, cwd=home, environment=environment)


def told(home: Path, run_folder: str = "outputs/lora_bert/latest") -> dict[str, Any]:
    manifest = json.loads((home / run_folder / "manifest.json").read_text())
    return {each["stage"]: each for each in manifest["stages"]}


def ran(home: Path, *arguments: str, change: Change | None = None) -> list[str]:
    """Run to the end; return the stages that were not reused."""
    ended = run(home, *arguments, change=change)
    assert ended.code == 0, ended.stderr
    stages = told(home)
    assert list(stages) == STAGES
    return [name for name, stage in stages.items() if not stage["reused"]]


def begun(home: Path, arguments: list[str]) -> Path:
    forked.preload()
    write_rows(home / "rows.jsonl", 60)
    assert ran(home, *arguments) == STAGES
    return home


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run has trained."""
    return begun(tmp_path_factory.mktemp("trained"), TRAINED)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run has ended that did not train; its tests leave no other data."""
    return begun(tmp_path_factory.mktemp("short"), SHORT)


def test_unchanged_run_reuses_every_stage_and_imports_no_torch(trained: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "pipeline", *TRAINED]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        command, cwd=trained, env=environment, capture_output=True, text=True, check=True
    )
    stages = told(trained)
    assert [name for name in STAGES if stages[name]["reused"]] == STAGES
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "pipeline.store" in imported
    assert not imported & {"torch", "transformers", "peft", "onnx", "datasets"}


def test_key_of_visualize_runs_visualize_alone(trained: Path) -> None:
    assert ran(trained, *TRAINED, "visualize.port=8099") == ["visualize"]
    assert told(trained)["visualize"]["why"] == "visualize.port 0 -> 8099"


def test_wave_stops_where_the_same_comes_out(trained: Path) -> None:
    assert ran(trained, *TRAINED, "data.drop_empty=true") == ["data"]  # no row is empty


def test_other_settings_in_the_same_folder_are_refused_by_name(trained: Path) -> None:
    there = "hydra.run.dir=mine"
    assert run(trained, *TRAINED, there).code == 0
    before = (trained / "mine/manifest.json").read_bytes()
    ended = run(trained, *TRAINED, there, "finetune.learning_rate=0.5")
    assert ended.code == 2
    assert ended.stderr.startswith("error: hydra.run.dir: ")
    assert "finetune.learning_rate 0.004 -> 0.5" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert (trained / "mine/manifest.json").read_bytes() == before
    assert run(trained, *TRAINED, there).code == 0


def test_other_rows_in_the_same_folder_are_refused_by_name(trained: Path) -> None:
    there = "hydra.run.dir=rows"
    assert run(trained, *TRAINED, there).code == 0
    before = (trained / "rows/manifest.json").read_bytes()
    rows = next(trained.glob("*.jsonl"))
    kept = rows.read_bytes()
    rows.write_bytes(kept.replace(b"very", b"Very", 1))
    ended = run(trained, *TRAINED, there)
    rows.write_bytes(kept)
    assert ended.code == 2
    assert ended.stderr.startswith("error: hydra.run.dir: ")
    assert f"{rows.name} changed" in ended.stderr
    assert (trained / "rows/manifest.json").read_bytes() == before
    assert run(trained, *TRAINED, there).code == 0


def test_plan_says_what_would_run_and_why_and_writes_nothing(trained: Path) -> None:
    ran(trained, *TRAINED)
    before = snapshot(trained)
    same = run(trained, "plan", *TRAINED)
    assert same.code == 0
    for stage in STAGES:
        assert f"{stage:<10} reused  nothing changed\n" in same.stdout
    other = run(trained, "plan", *TRAINED, "adapter.lora_alpha=4")
    assert other.code == 0
    assert "data       reused  nothing changed\n" in other.stdout
    assert "adapter    runs    adapter.lora_alpha 16.0 -> 4.0\n" in other.stdout
    assert "finetune   runs    adapter may come out different\n" in other.stdout
    assert "2,147 of 45,222 parameters train" in other.stdout
    assert snapshot(trained) == before


def snapshot(home: Path) -> dict[Path, tuple[int, int]]:
    return {
        each: (each.lstat().st_mtime_ns, each.lstat().st_size)
        for each in home.rglob("*")
        if not each.name.endswith(".lock")
    }


def test_edit_in_place_with_size_and_time_kept_is_noticed(short: Path) -> None:
    file = short / "rows.jsonl"
    content, time = file.read_text(), file.stat()
    try:
        file.write_text(content.replace("number 7 ", "number 8 "))
        os.utime(file, ns=(time.st_atime_ns, time.st_mtime_ns))
        assert file.stat().st_size == time.st_size
        assert ran(short, *SHORT)[0] == "data"
        assert told(short)["data"]["why"] == "rows.jsonl changed"
    finally:
        file.write_text(content)
    assert ran(short, *SHORT) == []


def test_setting_of_the_adapter_runs_from_there_and_back_runs_nothing(short: Path) -> None:
    # Also export, though finetune=none only hands the adapter through.
    assert ran(short, *SHORT, "adapter.lora_alpha=4")[:3] == ["adapter", "finetune", "export"]
    assert told(short)["adapter"]["why"] == "adapter.lora_alpha 16.0 -> 4.0"
    assert ran(short, *SHORT) == []


def test_reuse_false_runs_everything(short: Path) -> None:
    assert ran(short, *SHORT, "reuse=false") == STAGES
    assert {stage["why"] for stage in told(short).values()} == {"reuse=false"}
    assert ran(short, *SHORT) == []


def test_other_version_of_a_library_runs_what_uses_it(short: Path) -> None:
    def change() -> None:
        def version_of(name: str) -> str | None:
            return "0.0" if name == "peft" else describe.version_of(name)

        mock.patch("pipeline.fingerprint.version_of", version_of).start()  # the fork ends with it

    assert ran(short, *SHORT, change=change)[0] == "adapter"
    assert told(short)["adapter"]["why"].startswith("peft ")
    assert told(short)["adapter"]["why"].endswith(" -> 0.0")


def test_edit_of_the_code_of_a_stage_runs_it(short: Path, tmp_path: Path) -> None:
    import pipeline

    copy = shutil.copytree(Path(pipeline.__file__).parent, tmp_path / "pipeline")

    def change() -> None:
        from pipeline import fingerprint

        fingerprint._PACKAGE = copy
        fingerprint._code.cache_clear()

    assert ran(short, *SHORT, change=change) == []  # the same code elsewhere
    with (copy / "visualize/pages.py").open("a") as file:
        file.write("# one line more\n")
    assert ran(short, *SHORT, change=change) == ["visualize"]
    assert told(short)["visualize"]["why"] == "the code of visualize changed"


def test_input_that_is_edited_meanwhile_fails_and_publishes_nothing(tmp_path: Path) -> None:
    forked.preload()
    file = write_rows(tmp_path / "rows.jsonl", 60)

    def change() -> None:
        from pipeline.data import JsonLines

        read = JsonLines.run

        def edited(self: JsonLines, given: Any, folder: Path) -> Any:
            made = read(self, given, folder)
            write_rows(file, 61)
            return made

        mock.patch.object(JsonLines, "run", edited).start()

    ended = run(tmp_path, *SHORT, change=change)
    assert ended.code == 2
    said = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert said[0].startswith(f"error: data: {file} changed while the run was at work")
    assert "Traceback" not in ended.stderr
    store = tmp_path / "outputs/.store"
    assert [each.name for each in (store / "data").glob("[!.]*")] == []
    assert not any((store / "data").glob(".*.draft"))


def test_clean_removes_what_no_run_needs_and_nothing_else(tmp_path: Path) -> None:
    home = begun(tmp_path, SHORT)
    first = (home / "outputs/lora_bert/latest").resolve()
    ran(home, *SHORT, "adapter.lora_alpha=4")
    store = home / "outputs/.store"

    def entries() -> set[str]:
        return {str(each.relative_to(store)) for each in store.glob("[!.]*/[!.]*")}

    everything = entries()
    assert "0.0 MB are freed" in run(home, "clean").stdout
    assert entries() == everything
    second = told(home)
    alone = {stage["stored"] for stage in second.values() if not stage["reused"]}
    assert len(alone) >= 3
    shutil.rmtree((home / "outputs/lora_bert/latest").resolve())
    dry = run(home, "clean", "--dry-run")
    assert {line.split()[0] for line in dry.stdout.splitlines()[:-1]} == alone
    assert entries() == everything
    assert run(home, "clean").code == 0
    assert entries() == everything - alone
    links = [each for each in first.iterdir() if each.is_symlink()]
    assert len(links) == len(STAGES)
    assert [flaw(each.resolve().parent) for each in links] == [None] * len(STAGES)
    assert ran(home, *SHORT) == []


def test_store_can_lie_elsewhere_and_serve_several_places(tmp_path: Path) -> None:
    forked.preload()
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    store = tmp_path / "far" / "kept"
    environment: dict[str, str | None] = {"GRAFT_STORE": str(store)}
    arguments = [*RECIPE, f"data.train={rows}", "finetune=none"]
    for name, reused in (("one", False), ("two", True)):
        home = tmp_path / name
        home.mkdir()
        ended = run(home, *arguments, environment=environment)
        assert ended.code == 0, ended.stderr
        assert {stage["reused"] for stage in told(home).values()} == {reused}
        assert not (home / "outputs/.store").exists()
        link = home / "outputs/lora_bert/latest/1_model"
        assert link.resolve().is_relative_to(store)
    ended = run(tmp_path / "one", "clean", environment=environment)
    assert ended.stdout == "0.0 MB are freed\n"
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / name / "outputs")
    assert run(tmp_path / "one", "clean", environment=environment).code == 0
    assert not any(store.glob("[!.]*/[!.]*"))
