"""What the data stage shows of its rows, and what the report makes of it."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose, write_rows
from PIL import Image
from test_visualize import data_of, exported, make

from pipeline.artifacts import BaseModel, Examples
from pipeline.build import build_stage
from pipeline.data.preview import lengths_of, preview_of, save, spread
from pipeline.errors import StageError
from pipeline.rows import Raw, Rows
from pipeline.tasks import task_named
from pipeline.tasks.pictures import thumbnail
from pipeline.tasks.shown import Part, Shown
from pipeline.tasks.wanted import Wanted

FRAME = 2
"""The tokenizer of the test model reads bytes, and adds [CLS] and [SEP]."""
SECRET = "hf_" + "a1B2" * 8
EVIL = "</script><img src=x onerror=alert(1)>&"

Told = Callable[..., dict[str, Any]]


@pytest.fixture
def told(composed: Compose, base: BaseModel, tmp_path: Path) -> Told:
    """Return a function that runs the data stage and reads its preview."""

    def run(rows: list[dict[str, Any]], *changes: str, task: str = base.task) -> dict[str, Any]:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        config = composed("data=jsonl", f"data.train={file}", *(f"data.{c}" for c in changes))
        (folder := tmp_path / f"made{len(list(tmp_path.iterdir()))}").mkdir()
        stage: Any = build_stage("data", config["data"])
        made = stage.run(replace(base, task=task), folder)
        assert made.preview == folder / "preview.json"
        found: dict[str, Any] = json.loads(made.preview.read_bytes())
        return found

    return run


def shown_of(task: str, target: Any, wanted: Wanted, **row: Any) -> Shown:
    rows = Rows(names=tuple(row), columns={k: [v] for k, v in row.items()}, places=(1,))
    raw = Raw(rows=rows, key="data.train", origin="x")
    return task_named(task).shown(raw, 0, target, wanted, ("no", "yes"))


def wanted(label: str | None = "label", **inputs: str) -> Wanted:
    return Wanted(inputs=inputs or {"text_column": "text"}, label=label, max_length=None)


# -- what is told ------------------------------------------------------------------------------


def test_rows_labels_and_lengths_are_those_of_the_splits(told: Told) -> None:
    rows = [{"text": "x" * (n % 10 + 1), "label": "ab"[n % 3 == 0]} for n in range(60)]
    found = told(rows, "test_size=0.2", "validation_size=0.25", "max_length=8")
    assert {name: split["rows"] for name, split in found["splits"].items()} == {
        "train": 36, "validation": 12, "test": 12,
    }  # fmt: skip
    counted = Counter({"a": 0, "b": 0})
    for split in found["splits"].values():
        counted.update(dict(split["labels"]))
        assert split["rows"] == sum(count for _, count in split["labels"])
        assert len(split["shown"]) == 5
        for row in split["shown"]:
            (part,) = row["parts"]
            assert row["tokens"] == min(len(part["text"]) + FRAME, 8)
    assert counted == Counter(row["label"] for row in rows)
    lengths = found["lengths"]
    assert lengths["limit"] == 8
    assert sum(count for *_, count in lengths["bins"]) == lengths["rows"] == 36


def test_what_is_cut_is_counted_exactly_and_a_row_that_just_fits_is_not(
    told: Told, tmp_path: Path
) -> None:
    """All rows train: nothing is drawn."""
    for name, count in (("validation", 9), ("test", 12)):
        write_rows(tmp_path / f"{name}.jsonl", count)
    files = [f"{name}={tmp_path}/{name}.jsonl" for name in ("validation", "test")]
    labels = ("plum", "pear", "apple")
    rows = [{"text": "x" * length, "label": labels[length % 3]} for length in range(1, 21)]
    lengths = told(rows, *files, "max_length=12")["lengths"]
    assert lengths["rows"] == 20
    assert lengths["cut"] == sum(length + FRAME > 12 for length in range(1, 21)) == 10


@pytest.mark.parametrize("task", ["sequence_classification", "token_classification"])
def test_each_task_tells_which_rows_it_cut(task: str, base: BaseModel) -> None:
    texts: list[Any] = ["x" * length for length in (3, 5, 9)]
    if task == "token_classification":
        texts = [["x"] * count for count in (1, 2, 3)]  # two bytes each, with the space
    columns = {"text": texts, "label": texts}
    raw = Raw(
        rows=Rows(names=tuple(columns), columns=columns, places=range(1, 4)),
        key="data.train", origin="x",
    )  # fmt: skip
    targets = [[0] * len(text) for text in texts] if task.startswith("token") else [0, 0, 0]
    limit = {"sequence_classification": 7, "token_classification": 6}[task]
    made = task_named(task).encode(
        raw, [0, 1, 2], targets, replace(wanted(), max_length=limit), base
    )
    assert made["cut"] == [False, False, True]
    assert made["length"] == [made["length"][0], limit, limit]


def test_secrets_are_hidden_wherever_they_stand(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "the-one-word")
    long = "y " * 145  # the text is cut in the middle of what follows
    rows = [
        {"text": f"{text} {n}", "label": label}
        for n, (text, label) in enumerate(
            [(f"key {SECRET}", "a"), (f"{long}{SECRET}", SECRET), ("my the-one-word", "a")] * 20
        )
    ]
    found = json.dumps(told(rows))
    assert SECRET not in found
    assert SECRET[:8] not in found
    assert "the-one-word" not in found
    assert "key ***" in found


def test_a_secret_that_was_cut_into_words_is_hidden() -> None:
    words = ["-----BEGIN", "RSA", "PRIVATE", "KEY-----", "MIIE", "end"]
    row = Shown(parts=(Part(name="t", words=[(word, "O") for word in words]),), label=None)
    assert "MIIE" not in json.dumps(preview_of(1, [row], [8], []))


def test_long_texts_words_and_conversations_are_shortened() -> None:
    parts = (
        Part(name="t", text="x" * 10_000),
        Part(name="w", words=[("w" * 500, "O")] * 500),
        Part(name="c", turns=[("user", "z" * 10_000)] * 500),
    )
    told = preview_of(1, [Shown(parts=parts, label="l" * 10_000)], [9], [])
    assert len(json.dumps(told)) < 10_000
    text, words, turns = told["shown"][0]["parts"]
    assert text["text"].endswith("\u2026")
    assert len(words["words"]) + words["more"] == 500
    assert len(turns["turns"]) + turns["more"] == 500


def test_many_labels_are_counted_and_not_all_named() -> None:
    told = preview_of(1, [], None, [str(number) for number in range(1000)])
    assert len(told["labels"]) + told["more_labels"] == 1000
    assert told["more_labels"] > 0


@pytest.mark.parametrize("rows", [1, 2, 5, 6, 1000])
def test_rows_are_shown_from_the_first_to_the_last(rows: int) -> None:
    places = spread(rows)
    assert len(set(places)) == min(rows, 5)
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, rows - 1)


@pytest.mark.parametrize(
    "lengths", [[5], [3, 3], list(range(1, 14)), [1, 100, 50], [7] + [900] * 3]
)
def test_bins_hold_every_row_once_side_by_side(lengths: list[int]) -> None:
    bins = lengths_of(lengths, [False] * len(lengths), 10**9)["bins"]
    assert len(bins) <= 12
    assert [count for *_, count in bins] == [
        sum(low <= length <= high for length in lengths) for low, high, _ in bins
    ]
    assert sum(count for *_, count in bins) == len(lengths)
    assert all(high + 1 == low for (_, high, _), (low, *_) in pairwise(bins))
    assert bins[0][0] == min(lengths)
    assert len({high - low for low, high, _ in bins}) == 1


# -- what each task shows ----------------------------------------------------------------------


def test_each_task_shows_its_rows_as_a_person_reads_them() -> None:
    text = Part(name="text", text="hello")
    assert shown_of("sequence_classification", 1, wanted(), text="hello") == Shown(
        parts=(text,), label="yes"
    )
    pair = {"text_column": "text", "text_pair_column": "b"}
    both = shown_of("multi_label_classification", [1.0, 1.0], wanted(**pair), text="hello", b="x")
    assert both == Shown(parts=(text, Part(name="b", text="x")), label="no, yes")
    assert shown_of("regression", 3.5, wanted(), text="hello").label == "3.5"
    tagged = shown_of("token_classification", [0, 1], wanted(), text=["a", "b"])
    assert tagged.parts[0].words == [("a", "no"), ("b", "yes")]
    for task in ("causal_lm", "seq2seq"):
        made = shown_of(task, "world", wanted(), text="hello")
        assert made == Shown(parts=(text, Part(name="label", text="world")), label=None)
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    talk = shown_of("causal_lm", None, wanted(None), text=turns)
    assert talk.parts[0].turns == [("user", "hi"), ("assistant", "ho")]


@pytest.mark.parametrize(
    ("task", "target", "names"),
    [
        ("sequence_classification", 1, ["yes"]),
        ("image_classification", 0, ["no"]),
        ("multi_label_classification", [1.0, 0.0], ["no"]),
        ("token_classification", [0, 1, 1], ["no", "yes", "yes"]),
        ("regression", 3.5, []),
        ("causal_lm", None, []),
    ],
)
def test_labels_are_counted_as_often_as_they_are_there(
    task: str, target: Any, names: list[str]
) -> None:
    assert list(task_named(task).labels_in(target, ("no", "yes"))) == names


def test_thumbnail_is_small_upright_and_tells_nothing_beside() -> None:
    image = Image.new("RGB", (300, 100), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned
    exif[0x013B] = "Ann"
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif, icc_profile=b"secret profile")
    small = thumbnail(stream.getvalue())
    assert b"Ann" not in small
    shown = Image.open(io.BytesIO(small))
    assert shown.format == "PNG"
    assert shown.height == 64 > shown.width
    assert not shown.info


def test_images_are_shown_and_have_no_tokens(composed: Compose, tmp_path: Path) -> None:
    for place in ("model", "data"):
        (tmp_path / place).mkdir()
    model: Any = build_stage("model", composed("model=random_vit")["model"])
    stage: Any = build_stage("data", composed("data=digits")["data"])
    made: Examples = stage.run(model.run(None, tmp_path / "model"), tmp_path / "data")
    assert made.preview is not None
    told = json.loads(made.preview.read_bytes())
    assert told["lengths"] is None
    assert sum(split["rows"] for split in told["splits"].values()) == 1797
    (row, *_) = told["splits"]["train"]["shown"]
    assert row["tokens"] is None
    image = Image.open(io.BytesIO(base64.b64decode(row["parts"][0]["image"])))
    assert image.size == (8, 8)
    assert "cut" not in made.load("train").column_names


# -- to the report -----------------------------------------------------------------------------


def test_no_rows_have_no_preview(composed: Compose, base: BaseModel, tmp_path: Path) -> None:
    stage: Any = build_stage("data", composed("data=none")["data"])
    assert stage.run(base, tmp_path).preview is None
    folder = make(exported(tmp_path / "5_export"), tmp_path / "6_visualize")
    assert data_of(folder / "index.html")["rows"] is None


def test_no_text_of_a_row_can_be_markup(tmp_path: Path) -> None:
    given = exported(tmp_path / "5_export")
    row = Shown(
        parts=(Part(name=EVIL, text=EVIL), Part(name="w", words=[(EVIL, EVIL)])), label=EVIL
    )
    file = tmp_path / "preview.json"
    save(file, {"train": preview_of(1, [row], [3], [EVIL])}, lengths_of([3], [True], 3))
    folder = make(replace(given, preview=file), tmp_path / "6_visualize")
    assert "<img" not in (folder / "index.html").read_text(encoding="utf-8")
    (shown,) = data_of(folder / "index.html")["rows"]["splits"]["train"]["shown"]
    assert shown["parts"][0] == {"name": EVIL, "text": EVIL}
    assert shown["label"] == EVIL


@pytest.mark.parametrize("content", ["not json", "[]", "{}"])
def test_preview_that_cannot_be_read_is_told(content: str, tmp_path: Path) -> None:
    (file := tmp_path / "preview.json").write_text(content)
    given = replace(exported(tmp_path / "5_export"), preview=file)
    with pytest.raises(StageError, match=r"visualize: cannot read .*preview\.json"):
        make(given, tmp_path / "6_visualize")
