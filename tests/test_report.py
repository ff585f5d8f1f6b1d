"""What the report says, and from where; what a browser makes of it: test_visualize_browser."""

from __future__ import annotations

import json
import math
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from test_visualize import ADAPTER, BLOCK, HEAD, PLACEMENT, data_of, exported, make

from pipeline.errors import MachineError
from pipeline.placement import Module, Placement
from pipeline.visualize import Netron, browser
from pipeline.visualize.facts import figures, read_run
from pipeline.visualize.modules import described, places, sums
from pipeline.visualize.pages import number, percent
from pipeline.visualize.pictures import way_to_an_adapter
from pipeline.visualize.settings import told as settings

MANIFEST = {
    "name": "lora_bert",
    "started": "2026-11-23T07:54:08+00:00",
    "versions": {"python": "3.12.1", "torch": "2.13.0", "peft": "0.21.2"},
    "stages": [
        {"stage": "data", "settings": {"train": "/home/ann/secret/rows.csv", "test_size": 0.2}},
        {"stage": "adapter", "settings": {"r": 8, "target_modules": ["query", "value"]}},
        {
            "stage": "finetune",
            "settings": {"optimizer": {"lr": 0.001}},
            "facts": {"metric": "macro_f1", "best_metric": 0.5, "best_step": 50, "steps": 75},
        },
        {"stage": "visualize", "settings": {"port": 9000}},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The view of a run, with the manifest that lies beside it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(MANIFEST))
    return make(exported(tmp_path / "run" / "5_export"), tmp_path / "run" / "6_visualize")


def module(name: str, **values: Any) -> Module:
    return Module(**{"name": name, "type": "Linear", "role": "frozen", "why": "", **values})


def model(*modules: Module) -> Placement:
    return Placement(
        kind="LORA",
        modules=modules,
        frozen=sum(each.frozen for each in modules),
        trainable=sum(each.trainable for each in modules),
    )


# --- sums and places


def test_container_has_the_sums_of_what_is_in_it() -> None:
    whole = sums(PLACEMENT)
    assert (whole[BLOCK].adapters, whole[BLOCK].trainable, whole[BLOCK].frozen) == (1, 32, 84)
    assert (whole[""].adapters, whole[""].trainable, whole[""].frozen) == (1, 48, 100)
    assert (whole[""].flops, whole[""].adapter_flops) == (132, 64)
    assert whole[""].update_norm == math.hypot(3, 4)


def test_what_nobody_measured_is_not_zero() -> None:
    whole = sums(PLACEMENT)["layer.0.key"]
    assert (whole.flops, whole.adapter_flops, whole.update_norm) == (None, None, None)


def test_name_that_begins_another_is_not_around_it() -> None:
    assert sums(model(module("layer.1", frozen=1), module("layer.10", frozen=2)))[
        "layer.1"
    ].frozen == 1  # fmt: skip


@pytest.mark.parametrize(
    ("blocks", "inside", "place"),
    [
        # layers of one class
        ({"encoder.layer.0": "Layer", "encoder.layer.1": "Layer"}, "self.query",
         ("encoder.layer.1", "self.query")),
        # blocks in blocks: the outermost
        ({"block.0": "Block", "block.1": "Block", "block.0.layer.1": "Attention",
          "block.1.layer.1": "Attention"}, "q", ("block.1", "layer.1.q")),
        # a list of unlike modules
        ({"head.0": "Flatten", "head.1": "Mlp"}, "dense", ("", "head.1.dense")),
        ({"classifier": "Head"}, "dense", ("", "classifier.dense")),
    ],
)  # fmt: skip
def test_blocks_are_the_outermost_numbered_modules_of_one_class(
    blocks: dict[str, str], inside: str, place: tuple[str, str]
) -> None:
    containers = [module(name, type=kind) for name, kind in blocks.items()]
    leaves = [module(f"{name}.{inside}", frozen=1) for name in blocks]
    found = places(model(*containers, *leaves))[leaves[-1].name]
    assert (found.block, found.part) == place


def test_list_of_layers_without_modules_inside_has_no_blocks() -> None:
    """As in `nn.Sequential(Conv2d, Conv2d)`: each is told of by its name."""
    found = places(model(module("features.0", frozen=1), module("features.1", frozen=1)))
    assert {each.block for each in found.values()} == {""}


def test_module_that_is_no_node_leads_to_the_nearest_around_it() -> None:
    told = described(PLACEMENT, {BLOCK, ADAPTER})
    assert {each["name"]: each["node"] for each in told} == {
        BLOCK: BLOCK, ADAPTER: ADAPTER, "layer.0.key": BLOCK, HEAD: None,
    }  # fmt: skip


# --- what it says


def test_figures_are_those_of_the_placement_and_the_results() -> None:
    found = {name: (value, about) for name, value, about in figures(PLACEMENT, {"f1": 0.5}, None)}
    assert found["trainable"] == ("48", "of 148 parameters, 32 %")
    assert found["adapters"] == ("1", "LORA, r = 8, alpha = 16")
    assert found["FLOPs"] == ("132", "and 64 by the adapters, 48 %; per token")
    assert found["update"][0] == "5"
    assert found["test f1"][0] == "0.5"


def test_before_training_there_is_no_figure_that_only_training_could_tell() -> None:
    bare = replace(
        PLACEMENT,
        modules=tuple(
            replace(each, update_norm=None, relative_update=None, flops=None, adapter_flops=None)
            for each in PLACEMENT.modules
        ),
    )
    assert [name for name, *_ in figures(bare, {}, None)] == ["trainable", "adapters"]


def test_ranks_that_differ_are_said_as_a_range() -> None:
    adapters = (module(name, role="adapted", kind="LORA", r=r) for name, r in (("a", 4), ("b", 16)))
    about = {name: about for name, _, about in figures(model(*adapters), {}, None)}["adapters"]
    assert about == "LORA, r = 4 to 16"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (77578, "77,578"), (22_794_644, "22.8 M"), (70e9, "70.0 B"), (1.5e12, "1.5 T"),
     (999_999.6, "1.0 M"), (999_940_000, "999.9 M"), (999_960_000, "1.0 B"), (999.96e9, "1.0 T")],
)  # fmt: skip
def test_counts_are_said_as_a_person_reads_them(value: float, text: str) -> None:
    assert number(value) == text


def test_shares_have_two_figures_that_count() -> None:
    assert percent(77_578, 22_794_644) == "0.34 %"
    assert percent(4.7e6, 175e9) == "0.0027 %"
    assert percent(0, 0) == "0 %"


def test_run_beside_the_folder_is_told_of(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "run lora_bert, 2026-11-23 07:54 UTC · torch 2.13.0, peft 0.21.2" in page
    assert ["validation macro_f1", "0.5", "at step 50 of 75"] in data_of(folder / "index.html")[
        "figures"
    ]


def test_settings_are_told_without_the_folders_of_this_machine(folder: Path) -> None:
    assert dict(data_of(folder / "index.html")["settings"]) == {
        "data.train": "rows.csv",
        "data.test_size": "0.2",
        "adapter.r": "8",
        "adapter.target_modules": "query, value",
        "finetune.optimizer.lr": "0.001",
    }


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("data.train", "../../home/ann/x.csv", "x.csv"),
        ("data.train", "clients/ann/x.csv", "x.csv"),
        ("data.test", ["a/b/x.csv", "~/y.csv"], "x.csv, y.csv"),
        ("data.source", "file:///home/ann/x", "x"),
        ("data.source", "//server/ann/", "ann"),
        ("data.source", "C:\\Users\\ann\\x.csv", "x.csv"),
        ("data.source", ".\\ann\\x.csv", "x.csv"),
        # what only looks like one
        ("model.repo_id", "google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
        ("model.path", "org/name-3.1", "org/name-3.1"),
        ("data.delimiter", "/", "/"),
        ("adapter.target_modules", r".*\.(q|v)_proj", r".*\.(q|v)_proj"),
    ],
)
def test_only_the_last_name_of_a_path_is_told(key: str, value: Any, text: str) -> None:
    stage, _, name = key.partition(".")
    assert settings({"stage": stage, "settings": {name: value}}) == [(key, text)]


def test_stage_is_told_by_its_class_and_its_settings() -> None:
    stage = {"stage": "finetune", "by": "pipeline.finetune.trainer.Trainer", "settings": {"a": 1}}
    assert settings({**stage, "facts": {"steps": 75}}) == [
        ("finetune", "Trainer"), ("finetune.a", "1"),
    ]  # fmt: skip


def test_run_without_training_tells_no_setting_of_one(tmp_path: Path) -> None:
    stage = {
        "stage": "finetune", "by": "pipeline.finetune.none.NoTraining",
        "settings": {"learning_rate": 0.001}, "facts": {"steps": 0, "best_metric": None},
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, "stages": [stage]}))
    data = data_of(make(exported(tmp_path / "5_export"), tmp_path / "6_visualize") / "index.html")
    assert data["settings"] == [["finetune", "NoTraining"]]
    assert ["training", "not trained", "the adapters are as they start"] in data["figures"]


@pytest.mark.parametrize("manifest", [None, "not json", "[]", '{"name": "x"}'])
def test_folder_that_was_copied_elsewhere_tells_of_no_run(
    tmp_path: Path, manifest: str | None
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert read_run(tmp_path / "6_visualize") is None


def test_page_has_every_module_with_its_numbers(folder: Path) -> None:
    told = {each["name"]: each for each in data_of(folder / "index.html")["modules"]}
    assert list(told) == [each.name for each in PLACEMENT.modules]
    assert told[ADAPTER]["relative_update"] == 0.25
    assert told[ADAPTER]["node"] == ADAPTER
    assert told["layer.0.key"]["node"] == BLOCK
    assert "update_norm" not in told["layer.0.key"]


def test_no_name_can_be_markup(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>&"
    placement = replace(PLACEMENT, modules=(module(evil, frozen=1), *PLACEMENT.modules))
    given = exported(tmp_path / "5_export", placement)
    view = onnx.load(given.view, load_external_data=False)
    view.graph.name = evil
    given.view.write_bytes(view.SerializeToString())
    folder = make(given, tmp_path / "out")
    for name in ("index.html", "compare.html"):
        assert "<img" not in (folder / name).read_text(encoding="utf-8")
        assert data_of(folder / name)["modules"][0]["name"] == evil


def test_pages_ask_for_nothing_that_is_not_beside_them(folder: Path) -> None:
    for name in ("index.html", "compare.html"):
        page = (folder / name).read_text(encoding="utf-8")
        assert "default-src 'none'" in page
        assert "://" not in page.replace("http://localhost", "")


# --- pictures


def test_way_to_an_adapter_opens_the_block_around_it(tmp_path: Path) -> None:
    given = exported(tmp_path / "5_export")
    view = onnx.load(given.view, load_external_data=False)
    assert way_to_an_adapter(view) == (BLOCK,)
    del view.graph.node[0]
    assert way_to_an_adapter(view) == ()  # what trains in full is no adapter
    view.graph.node[0].op_type = "LoraLinear"
    assert way_to_an_adapter(view) == (HEAD,)  # in no block: it is opened itself


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "find_browser", lambda: None)


def draw(tmp_path: Path, pictures: Any) -> Path:
    (tmp_path / "out").mkdir()
    stage = Netron(open="never", port=0, weights=True, pictures=pictures)
    return stage.run(exported(tmp_path / "5_export"), tmp_path / "out").folder


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_one_line_says_so_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = draw(tmp_path, "auto")
    assert [line for line in caplog.messages if "pictures" in line] == [
        "    no pictures: no Chromium, Chrome or Edge on this machine draws them"
    ]
    assert data_of(folder / "index.html")["pictures"] == []


@pytest.mark.usefixtures("no_browser")
def test_pictures_that_are_always_wanted_need_a_browser(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"visualize\.pictures=always: no Chromium, .* to auto"):
        draw(tmp_path, "always")


@pytest.mark.parametrize("script", ["exit 1", "exec sleep 60"])
def test_browser_that_does_not_draw_is_ended_and_the_run_goes_on(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(browser, "find_browser", lambda: str(program))
    monkeypatch.setattr("pipeline.visualize.pictures._SECONDS", 1.0)
    folder = draw(tmp_path, "auto")
    assert f"{program} did not draw them" in caplog.text
    assert not (folder / "pictures").exists()
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
