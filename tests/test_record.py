"""The run folder tells the truth at every moment."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StageError
from pipeline.record import Record


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

    def run(self, given: Any, folder: Path) -> Letter:
        (folder / "half.txt").write_text("half")
        raise self.error


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "name" / "run", about={"name": "name", "seed": 0})


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
    assert entry["files"] == {"letter.txt": {"sha256": digest, "size": 8}}
    assert manifest(record)["status"] == "running"
    record.finish()
    assert manifest(record)["status"] == "done"
    assert set(manifest(record)["versions"]) >= {"python", "torch", "peft"}


def test_failed_stage_leaves_no_folder_and_a_failed_manifest(record: Record) -> None:
    record.run("first", Write(text="x"), None)
    error = StageError("data: no rows")
    with pytest.raises(StageError):
        record.run("second", Fail(error=error), None)
    record.fail(error)
    told = manifest(record)
    assert told["status"] == "failed"
    assert told["error"] == {"type": "StageError", "message": "data: no rows"}
    assert [entry["status"] for entry in told["stages"]] == ["done", "failed"]
    assert sorted(p.name for p in record.folder.iterdir()) == ["1_first", "manifest.json"]


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


def test_latest_points_at_the_newest_run(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Record(tmp_path / "runs" / name, about={})
    latest = tmp_path / "runs" / "latest"
    assert latest.resolve() == tmp_path / "runs" / "two"
    assert latest.readlink() == Path("two")


def test_published_files_can_be_read_by_others(record: Record) -> None:
    made = record.run("first", Write(text="x"), None)
    assert made.file.stat().st_mode & 0o044 == 0o044
