"""The run folder tells the truth at every moment."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import describe
from pipeline.claim import claimed
from pipeline.errors import ConfigError, FolderTakenError, StageError
from pipeline.record import Record, assert_goes_on, told_plan
from pipeline.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    folder: Path
    file: Path
    words: int
    names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Write:
    text: str

    def run(self, given: None, folder: Path) -> Letter:
        file = folder / "letter.txt"
        file.write_text(self.text)
        file.chmod(0o600)
        return Letter(folder=folder, file=file, words=len(self.text.split()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fail:
    error: BaseException

    text: str = "half"

    def run(self, given: Any, folder: Path) -> Letter:
        if self.text:
            (folder / "half.txt").write_text(self.text)
        raise self.error


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".store")


@pytest.fixture
def record(tmp_path: Path, store: Store) -> Record:
    return Record(tmp_path / "name" / "run", {"name": "name", "seed": 0}, store)


def manifest(record: Record) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((record.folder / "manifest.json").read_text())
    return told


def test_stage_folder_is_published_under_its_number(record: Record) -> None:
    made = record.run("first", Write(text="dear you"), None)
    assert made.folder == record.folder / "1_first"
    assert made.file.read_text() == "dear you"
    assert sorted(p.name for p in record.folder.iterdir()) == ["1_first", "manifest.json"]


def test_manifest_holds_settings_facts_files_and_status(record: Record) -> None:
    record.run("first", Write(text="dear you"), None)
    (entry,) = manifest(record)["stages"]
    assert entry["stage"] == "first"
    assert entry["status"] == "done"
    assert entry["settings"] == {"text": "dear you"}
    assert entry["facts"] == {
        "folder": "1_first",
        "file": "1_first/letter.txt",
        "words": 2,
        "names": ["a", "b"],
    }
    digest = hashlib.sha256(b"dear you").hexdigest()
    assert set(entry["parts"]) >= {"settings", "code", "given", "reads", "versions", "machine"}
    assert entry["reused"] is False
    sealed = json.loads((record.folder / "1_first").resolve().with_name("seal.json").read_text())
    assert sealed["files"] == {"made/letter.txt": {"sha256": digest, "size": 8}}
    assert manifest(record)["status"] == "running"
    record.finish()
    assert manifest(record)["status"] == "done"
    assert set(manifest(record)["versions"]) >= {"python", "torch", "peft"}


def test_failed_stage_leaves_no_finished_folder_and_a_failed_manifest(record: Record) -> None:
    record.run("first", Write(text="x"), None)
    error = StageError("data: no rows")
    with pytest.raises(StageError):
        record.run("second", Fail(error=error, text=""), None)
    record.fail(error)
    told = manifest(record)
    assert told["status"] == "failed"
    assert told["error"] == {"type": "StageError", "message": "data: no rows"}
    assert [entry["status"] for entry in told["stages"]] == ["done", "failed"]
    assert sorted(p.name for p in record.folder.iterdir()) == ["1_first", "manifest.json"]


def test_what_a_failed_stage_wrote_is_kept_and_named(record: Record) -> None:
    kept = record.folder / "1_first.failed"
    kept.mkdir()
    (kept / "older.txt").touch()
    error = StageError("data: no rows")
    with pytest.raises(StageError):
        record.run("first", Fail(error=error), None)
    record.fail(error)
    (entry,) = manifest(record)["stages"]
    assert entry["kept"] == "1_first.failed"
    assert [file.name for file in kept.iterdir()] == ["half.txt"]
    assert sorted(p.name for p in record.folder.iterdir()) == ["1_first.failed", "manifest.json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What `assert_goes_on` looks at, as a plan has it."""

    first: Write
    launch: None = None


def test_folder_of_a_run_with_other_settings_is_refused(tmp_path: Path, store: Store) -> None:
    def plan(text: str) -> Any:
        return Settings(first=Write(text=text))

    assert_goes_on(tmp_path / "run", plan("x"))  # there is none
    record = Record(tmp_path / "run", {"plan": told_plan(plan("x"))}, store)
    before = (record.folder / "manifest.json").read_bytes()
    assert_goes_on(record.folder, plan("x"))
    with pytest.raises(ConfigError, match=r"run.dir: .* started otherwise: first.text x -> y"):
        assert_goes_on(record.folder, plan("y"))
    assert (record.folder / "manifest.json").read_bytes() == before


def test_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "my browser extension"}')
    with pytest.raises(ConfigError, match="a manifest.json of something else"):
        assert_goes_on(tmp_path, Settings(first=Write(text="x")))  # type: ignore[arg-type]


@pytest.mark.parametrize("sweeping", [False, True])
def test_of_two_claims_the_second_is_refused(sweeping: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    said = f"process {os.getpid()} on .* is at work in {folder}"
    with (
        claimed(folder, chosen=True, sweeping=sweeping),
        pytest.raises(FolderTakenError, match=said) as told,
        claimed(folder, chosen=True, sweeping=sweeping),
    ):
        pass
    assert told.value.exit_code == 75
    with claimed(folder, chosen=True, sweeping=sweeping) as mine:  # free again
        assert mine == folder


def test_folder_of_the_user_with_other_files_can_be_claimed(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    with claimed(tmp_path, chosen=True, sweeping=False) as mine:
        assert mine == tmp_path


def test_folder_with_something_else_in_place_of_a_stage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "2_data").mkdir()
    with (
        pytest.raises(ConfigError, match="2_data is a folder of something else"),
        claimed(tmp_path, chosen=True, sweeping=False),
    ):
        pass


def test_claim_on_a_file_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(ConfigError, match="hydra.run.dir: .*/file is a file, not a folder"),
            claimed(folder, chosen=True, sweeping=False),
        ):
            pass


def test_manifest_tells_which_process_of_which_machine_writes_it(record: Record) -> None:
    assert manifest(record)["process"] == {"pid": os.getpid(), "host": os.uname().nodename}


def test_commit_is_that_of_this_project_and_not_of_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    git("commit", "--allow-empty", "-m", "x")
    monkeypatch.chdir(tmp_path)
    assert describe.git_commit() != git("rev-parse", "HEAD")
    monkeypatch.setattr(describe, "_CHECKOUT", tmp_path)
    assert describe.git_commit() is None  # a repository around a wheel is not ours
    (tmp_path / "pyproject.toml").touch()
    assert describe.git_commit() == git("rev-parse", "HEAD")


def test_manifest_says_running_while_a_stage_runs(record: Record) -> None:
    seen = {}

    @dataclass(frozen=True)
    class Look:
        def run(self, given: None, folder: Path) -> Letter:
            seen.update(manifest(record))
            return Letter(folder=folder, file=folder, words=0)

    record.run("look", Look(), None)
    assert seen["status"] == "running"
    assert seen["stages"][0]["status"] == "running"


def test_latest_points_at_the_newest_run(tmp_path: Path, store: Store) -> None:
    latest = tmp_path / "runs" / "latest"
    for name in ("one", "two"):
        Record(tmp_path / "runs" / name, {}, store, latest=latest)
    assert latest.resolve() == tmp_path / "runs" / "two"
    assert latest.readlink() == Path("two")


def test_no_link_is_made_unless_asked_for(tmp_path: Path, store: Store) -> None:
    Record(tmp_path / "runs" / "one", {}, store)
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["one"]


def test_link_that_leads_nowhere_is_replaced_and_a_file_is_not(
    tmp_path: Path, store: Store
) -> None:
    dangling, file = tmp_path / "dangling", tmp_path / "file"
    dangling.symlink_to("nowhere")
    file.write_text("mine")
    Record(tmp_path / "one", {}, store, latest=dangling)
    Record(tmp_path / "two", {}, store, latest=file)
    assert dangling.readlink() == Path("one")
    assert file.read_text() == "mine"


def test_published_files_can_be_read_by_others(record: Record) -> None:
    made = record.run("first", Write(text="x"), None)
    assert made.file.stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("sweeping", [False, True])
def test_starts_in_the_same_second_get_folders_of_their_own(tmp_path: Path, sweeping: bool) -> None:
    folder = tmp_path / "2026-11-23_07-54-08"
    names = []
    for _ in range(3):
        with claimed(folder, chosen=False, sweeping=sweeping) as mine:
            names.append(mine.name)
    assert names == [folder.name, f"{folder.name}_2", f"{folder.name}_3"]
