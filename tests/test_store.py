"""An entry of the store is whole or absent, and a stage is run by one process at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import forked
import pytest
from reliability import cheap

from pipeline import lock
from pipeline.artifacts import BaseModel, TrainedModel
from pipeline.clean import clean
from pipeline.errors import MachineError, StageError
from pipeline.record import Record
from pipeline.seal import flaw, seal, sha256, told
from pipeline.store import MADE, Store

PRINT = "0123456789abcdef"


def published(store: Store, text: str = "x") -> Path:
    with store.draft("data", PRINT, keep=False) as draft:
        (draft / MADE / "rows").write_text(text)
        return store.publish(draft, {"made": text}).folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs/.store")


def test_entry_is_found_with_what_was_said_about_it(store: Store) -> None:
    assert store.find("data", PRINT) is None
    folder = published(store)
    entry = Store(store.root).find("data", PRINT)
    assert entry is not None
    assert (entry.folder, entry.about) == (folder, {"made": "x"})
    assert [each.name for each in folder.parent.iterdir()] == [PRINT]


def test_newest_version_is_found_and_a_damaged_one_gives_way_to_the_one_before(
    store: Store,
) -> None:
    first, second = published(store, "1"), published(store, "2")
    assert second.name == f"{PRINT}.2"
    found = Store(store.root).find("data", PRINT)
    assert found is not None
    assert found.folder == second
    (second / MADE / "rows").write_text("3")
    found = Store(store.root).find("data", PRINT)
    assert found is not None
    assert found.folder == first
    names = sorted(each.name for each in first.parent.iterdir())
    assert len(names) == 2
    assert names[0].startswith(f".damaged-{PRINT}.2-")


@pytest.mark.parametrize("byte", [b"\n", b" ", b"x"])
def test_seal_with_a_byte_more_is_damaged(byte: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seal(tmp_path, {})
    assert flaw(tmp_path) is None
    with (tmp_path / "seal.json").open("ab") as stream:
        stream.write(byte)
    assert flaw(tmp_path) is not None


@pytest.mark.parametrize(("keep", "left"), [(True, ["half"]), (False, [])])
def test_draft_of_a_killed_attempt_is_kept_for_who_goes_on(
    store: Store, keep: bool, left: list[str]
) -> None:
    made = store.root / "data" / f".{PRINT}.draft" / MADE
    made.mkdir(parents=True)
    (made / "half").touch()
    with store.draft("data", PRINT, keep=keep) as draft:
        assert [each.name for each in (draft / MADE).iterdir()] == left


def test_store_that_cannot_be_written_is_a_fault_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="store: cannot write to .*GRAFT_STORE"):
        Store(tmp_path / "file").working("data", PRINT, print)


def test_who_waits_is_told_who_works(store: Store) -> None:
    said: list[str] = []

    def busy(holder: str) -> None:
        said.append(holder)
        raise StageError("busy")

    assert not store.is_working("data", PRINT)
    with store.working("data", PRINT, said.append):
        assert store.is_working("data", PRINT)
        with pytest.raises(StageError), store.working("data", PRINT, busy):
            pass
    assert len(said) == 1
    assert said[0].startswith("process ")
    assert not store.is_working("data", PRINT)


def test_lock_that_is_held_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with lock.locked(file, busy=pytest.fail):
        lock.remove(file)
        assert file.exists()
    lock.remove(file)
    assert not file.exists()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    file = tmp_path / "lock"

    def die() -> None:
        import os
        import signal

        with lock.locked(file, busy=pytest.fail):
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked.fork(die).code == -9
    assert lock.holder(file).startswith("process ")  # its name is still there
    with lock.locked(file, busy=pytest.fail):
        pass


def test_same_stages_elsewhere_have_the_same_digests(tmp_path: Path) -> None:
    for name in ("here", "there"):
        cheap.pipeline(tmp_path / name)()
    here, there = (
        cheap.digests(tmp_path / name / "outputs/cheap/run") for name in ("here", "there")
    )
    assert len(here) == len(cheap.STAGES)
    assert here == there


def test_outputs_can_be_moved_as_a_whole(tmp_path: Path) -> None:
    cheap.pipeline(tmp_path / "here")()
    before = cheap.digests(tmp_path / "here/outputs/cheap/run")
    (tmp_path / "here").rename(tmp_path / "there")
    assert cheap.digests(tmp_path / "there/outputs/cheap/run") == before
    cheap.pipeline(tmp_path / "there", "again")()
    assert cheap.digests(tmp_path / "there/outputs/cheap/again") == before


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Reads a file, and then does something else."""

    file: Path
    then: Callable[[], object]

    def reads(self) -> dict[str, str]:
        return {str(self.file): sha256(self.file)}

    def run(self, given: Any, folder: Path) -> BaseModel:
        made = cheap.MakeModel(pause=0.0).run(None, folder)
        self.then()
        return made


def test_what_is_read_and_edited_meanwhile_is_not_published(tmp_path: Path, store: Store) -> None:
    file = tmp_path / "weights"
    file.write_text("1")
    record = Record(tmp_path / "outputs/run", {}, store)
    with pytest.raises(StageError, match=f"model: {file} changed while the run was at work"):
        record.run("model", Reader(file=file, then=lambda: file.write_text("2")), None)
    assert not any((store.root / "model").glob("[!.]*"))
    again = Record(tmp_path / "outputs/run", {}, store)
    made = again.run("model", Reader(file=file, then=lambda: None), None)
    assert flaw(made.folder.resolve().parent) is None


def test_what_an_earlier_stage_made_is_checked_after_it_was_used(
    tmp_path: Path, store: Store
) -> None:
    record = Record(tmp_path / "outputs/run", {}, store)
    base = record.run("model", cheap.MakeModel(pause=0.0), None)
    (tmp_path / "file").touch()
    spoil = Reader(
        file=tmp_path / "file", then=lambda: (base.folder / "config.json").write_text("")
    )
    with pytest.raises(StageError, match=r"data: .*config.json has 0 bytes, not 2048"):
        record.run("data", spoil, base)
    assert not any((store.root / "data").glob("[!.]*"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stumble:
    """Fails once, after half of its work."""

    resumes: ClassVar[bool] = True

    def run(self, given: Any, folder: Path) -> BaseModel:
        if not (folder / "half").exists():
            (folder / "half").write_text("done")
            raise StageError("finetune: stumbled")
        return cheap.MakeModel(pause=0.0).run(None, folder)


def test_stage_that_resumes_goes_on_and_its_unfinished_work_can_be_seen(
    tmp_path: Path, store: Store
) -> None:
    folder = tmp_path / "outputs/run"
    record = Record(folder, {}, store)
    with pytest.raises(StageError, match="stumbled"):
        record.run("finetune", Stumble(), None)
    assert (folder / "1_finetune.unfinished/half").read_text() == "done"
    list(clean(store.root, dry_run=False))  # the run needs it
    Record(folder, {}, store).run("finetune", Stumble(), None)
    assert sorted(each.name for each in folder.iterdir()) == ["1_finetune", "manifest.json"]
    assert (folder / "1_finetune/half").read_text() == "done"


def test_artifact_that_holds_others_comes_back_from_the_store(tmp_path: Path) -> None:
    cheap.pipeline(tmp_path)()
    cheap.pipeline(tmp_path, "again")()
    link = tmp_path / "outputs/cheap/again/4_finetune"
    assert told(link.resolve().parent)["made"]["fields"]["adapted"] == {"made_by": "adapter"}
    record = Record(tmp_path / "outputs/cheap/third", {}, Store(tmp_path / "outputs/.store"))
    base = record.run("model", cheap.MakeModel(pause=0.0), None)
    examples = record.run("data", cheap.MakeData(pause=0.0), base)
    adapted = record.run("adapter", cheap.MakeAdapter(pause=0.0), (base, examples))
    trained = record.run("finetune", cheap.Train(pause=0.0), (adapted, examples))
    assert isinstance(trained, TrainedModel)
    assert trained.adapted is adapted
    assert trained.folder == record.folder / "4_finetune"


def test_clean_of_a_store_elsewhere_keeps_what_its_runs_need(tmp_path: Path) -> None:
    root = tmp_path / "far/kept"
    cheap.run_stages(root, tmp_path / "near/run")
    before = sorted(root.rglob("*/*"))
    assert list(clean(root, dry_run=True)) == ["0.0 MB would be freed"]
    (tmp_path / "near/run/manifest.json").unlink()  # its links alone say what it needs
    list(clean(root, dry_run=False))
    assert [each for each in before if not each.exists() and each.suffix != ".lock"] == []
    assert cheap.flaws(root) == []
    assert len(cheap.digests(tmp_path / "near/run")) == len(cheap.STAGES)


def test_links_that_a_killed_process_only_began_go(tmp_path: Path) -> None:
    cheap.pipeline(tmp_path)()
    (tmp_path / "outputs/cheap/run/.1_model.0a1b2c3d").symlink_to("nowhere")
    cheap.pipeline(tmp_path)()
    assert cheap.leftovers(tmp_path) == []
