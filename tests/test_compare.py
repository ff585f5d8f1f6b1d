"""Two graphs side by side: what differs, and the folder that shows it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from test_visualize import ADAPTER, BLOCK, HEAD, PLACEMENT, data_of, exported, files, make, told

from pipeline.artifacts import View
from pipeline.cli import main
from pipeline.errors import MachineError, StageError
from pipeline.placement import Module, Placement
from pipeline.visualize import compare, find_view, viewer
from pipeline.visualize.difference import before_and_after, between, side_roles


def changed(**values: object) -> Placement:
    """Return the placement with another adapter."""
    return replace(
        PLACEMENT,
        modules=tuple(
            replace(each, **values) if each.name == ADAPTER else each  # type: ignore[arg-type]
            for each in PLACEMENT.modules
        ),
    )


BARE = changed(
    role="frozen", kind=None, r=None, lora_alpha=None, scaling=None, trainable=0, update_norm=None,
    relative_update=None,
)  # fmt: skip


# --- what differs


def test_before_and_after_tells_what_was_added_trained_and_left() -> None:
    found = {
        each.name: (each.status, each.left, each.right) for each in before_and_after(PLACEMENT)
    }
    assert found == {
        ADAPTER: ("adapted", "Linear", "LORA, r = 8, alpha = 16, 32 train, update 25 %"),
        "layer.0.key": ("untouched", "Linear", "untouched"),
        HEAD: ("trained", "Linear", "trained in full, 16 train, update 50 %"),
    }


@pytest.mark.parametrize(
    ("left", "right", "status"),
    [
        (PLACEMENT, PLACEMENT, "alike"),
        (PLACEMENT, changed(r=16, trainable=64), "differs"),
        (PLACEMENT, changed(lora_alpha=32.0), "differs"),
        (PLACEMENT, changed(kind="IA3"), "differs"),
        (PLACEMENT, changed(update_norm=9.0, relative_update=0.9), "alike"),  # a result, no choice
        (PLACEMENT, BARE, "left"),
        (BARE, PLACEMENT, "right"),
        (BARE, BARE, "untouched"),
    ],
)
def test_two_runs_differ_by_what_a_person_chose(
    left: Placement, right: Placement, status: str
) -> None:
    assert {each.name: each.status for each in between(left, right)}[ADAPTER] == status


def test_two_models_tell_what_only_one_of_them_has() -> None:
    other = Module(name="other", type="Conv2d", role="frozen", why="", frozen=9)
    right = replace(PLACEMENT, modules=(other, *PLACEMENT.modules[3:]))
    found = {each.name: each for each in between(PLACEMENT, right)}
    assert {name: each.status for name, each in found.items()} == {
        ADAPTER: "left", "layer.0.key": "missing", HEAD: "alike", "other": "missing",
    }  # fmt: skip
    assert (found["other"].left, found["other"].right) == ("not in this model", "untouched")
    assert found[ADAPTER].right == "not in this model"


def test_each_side_paints_its_own() -> None:
    found = between(PLACEMENT, BARE)
    assert side_roles(found, "left") == {ADAPTER: "only", HEAD: "alike"}
    assert side_roles(found, "right") == {HEAD: "alike"}


# --- base and adapted


def test_page_of_a_run_shows_the_base_on_the_left(tmp_path: Path) -> None:
    folder = make(exported(tmp_path / "5_export"), tmp_path / "out")
    data = data_of(folder / "compare.html")
    assert [side["key"] for side in data["sides"]] == ["base", "adapted"]
    assert ["of which train", "0", "48"] in data["totals"]
    assert {each["name"]: each["nodes"] for each in data["modules"]} == {
        ADAPTER: [ADAPTER, ADAPTER], "layer.0.key": [BLOCK, BLOCK], HEAD: [None, HEAD],
    }  # fmt: skip


# --- two runs


def run(folder: Path, placement: Placement, r: int) -> Path:
    """Write a run as far as it is looked at."""
    folder.mkdir(parents=True)
    settings = {"r": r, "train": f"/home/ann/{r}.csv", "seed": 0}
    stages = [{"stage": "adapter", "by": "pipeline.adapter.Lora", "settings": settings}]
    told = {"name": "lora_bert", "started": "2026-11-23T07:54:08+00:00", "versions": {}}
    (folder / "manifest.json").write_text(json.dumps({**told, "stages": stages}))
    make(exported(folder / "5_export", placement), folder / "6_visualize")
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    left = run(tmp_path / "r8", PLACEMENT, 8)
    return left, run(tmp_path / "r16", changed(r=16, trainable=64), 16)


def test_folder_of_two_runs_stands_alone(runs: tuple[Path, Path]) -> None:
    folder = compare(*runs)
    assert folder.parent == Path("outputs/compare")
    own = {name for name in files(folder) if not name.startswith(("netron/", "page/"))}
    assert own == {"index.html", "models/a.onnx", "models/b.onnx"}
    assert list(told(folder)) == ["a", "b"]
    assert compare(*runs) != folder


def test_page_of_two_runs_tells_modules_totals_and_settings(runs: tuple[Path, Path]) -> None:
    data = data_of(compare(*runs) / "index.html")
    assert [side["name"] for side in data["sides"]] == [
        "lora_bert, r8", "lora_bert, r16",
    ]  # fmt: skip
    assert data["settings"] == [["adapter.r", "8", "16"], ["adapter.train", "8.csv", "16.csv"]]
    (adapter,) = (each for each in data["modules"] if each["name"] == ADAPTER)
    assert adapter["status"] == "differs"
    assert adapter["left"].startswith("LORA, r = 8")
    assert adapter["right"].startswith("LORA, r = 16")


def test_two_runs_of_one_recipe_and_minute_are_told_apart(tmp_path: Path) -> None:
    names = ("2026-11-23_07-54-08", "2026-11-23_07-54-08_2", "multirun_a/0", "multirun_b/0")
    folders = [run(tmp_path / name, PLACEMENT, 8) for name in names]
    told = [
        side["name"]
        for left, right in (folders[:2], folders[2:])
        for side in data_of(compare(left, right, tmp_path / "compare") / "index.html")["sides"]
    ]
    assert told == [f"lora_bert, {name}" for name in names]


def test_run_that_was_not_trained_differs_by_the_class_of_its_stage(
    runs: tuple[Path, Path],
) -> None:
    for folder, kind, steps in zip(runs, ("NoTraining", "Trainer"), (0, 9), strict=True):
        told = json.loads((folder / "manifest.json").read_text())
        told["stages"] = [
            {
                "stage": "finetune", "by": f"pipeline.finetune.{kind}",
                "settings": {"learning_rate": 0.1}, "facts": {"steps": steps},
            }
        ]  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(told))
    assert data_of(compare(*runs) / "index.html")["settings"] == [
        ["finetune", "NoTraining", "Trainer"], ["finetune.learning_rate", "", "0.1"],
    ]  # fmt: skip


def test_no_value_and_no_folder_of_this_machine_goes_along(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = compare(*runs)
    for name in files(folder):
        assert str(tmp_path).encode() not in (folder / name).read_bytes()
    for tensor in onnx.load(
        folder / "models" / "a.onnx", load_external_data=False
    ).graph.initializer:
        assert tensor.external_data[0].value == "left-out"


def test_runs_that_were_moved_apart_from_their_manifest_are_compared(
    runs: tuple[Path, Path],
) -> None:
    for each in runs:
        (each / "manifest.json").unlink()
    data = data_of(compare(*(each / "6_visualize" for each in runs)) / "index.html")
    assert [side["name"] for side in data["sides"]] == ["r8", "r16"]
    assert data["settings"] == []


def test_run_without_a_view_is_named(runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StageError, match=r"^compare: nothing to look at in .*empty"):
        compare(runs[0], tmp_path / "empty")
    with pytest.raises(StageError, match=r"^compare: nowhere does not exist"):
        compare(runs[0], Path("nowhere"))
    assert not Path("outputs").exists()


def test_view_of_an_earlier_version_is_named(runs: tuple[Path, Path]) -> None:
    (runs[1] / "6_visualize" / "placement.json").unlink()
    with pytest.raises(StageError, match=r"^compare: .*r16.* earlier version .* run it again"):
        compare(*runs)


@pytest.mark.parametrize("content", ["", '{"modules": [', "null", "[]", "{}"])
def test_damaged_placement_is_said_in_one_line_and_leaves_nothing(
    runs: tuple[Path, Path], content: str
) -> None:
    (runs[1] / "6_visualize" / "placement.json").write_text(content)
    with pytest.raises(StageError, match=r"^visualize: cannot read .*r16.*placement\.json \(.*\)"):
        compare(*runs)
    assert not Path("outputs").exists()


def test_comparison_that_fails_half_way_leaves_no_folder(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MachineError, match="pip install netron"):
        compare(*runs)
    assert list(Path("outputs/compare").iterdir()) == []


def test_without_a_netron_we_know_the_list_is_shown_alone_and_the_warning_says_so(
    runs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "netron").mkdir()
    monkeypatch.setattr(viewer, "find_netron", lambda: tmp_path / "netron")
    folder = compare(*runs)
    assert "The list is shown without the graphs; for ours: pip install" in caplog.text
    assert "own page" not in caplog.text
    assert data_of(folder / "index.html")["graph"] is False


def test_newest_comparison_stands_for_the_folder_of_them(runs: tuple[Path, Path]) -> None:
    older, newer = compare(*runs), compare(*runs)
    os.utime(newer, (9, 9))
    os.utime(older, (8, 8))
    assert find_view(Path("outputs/compare")) == newer.resolve()
    with pytest.raises(StageError, match=r"^compare: nothing to look at in outputs/compare: "):
        compare(runs[0], Path("outputs/compare"))


@pytest.mark.parametrize(
    "given", [[], ["a"], ["a", "--help"], ["a", "b", "c"], ["a", "b", "70000"]]
)
def test_command_says_what_it_takes(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pipeline", "compare", *given])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "compare: takes two run folders" in capsys.readouterr().err


def test_command_writes_the_folder_and_shows_it(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[View] = []
    monkeypatch.setattr("pipeline.visualize.show", shown.append)
    monkeypatch.setattr(sys, "argv", ["pipeline", "compare", *map(str, runs), "8000"])
    main()
    assert [(view.open, view.port) for view in shown] == [("auto", 8000)]
    assert capsys.readouterr().out == f"The comparison is in {shown[0].folder}\n"
    assert (shown[0].folder / "index.html").is_file()
