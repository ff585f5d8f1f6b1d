"""Rows become tokens and numbers; what is wrong with them is said with file and row."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import LABELS, Compose, write_rows

from pipeline.artifacts import BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import StageError

Run = Callable[..., Examples]


@pytest.fixture
def run(composed: Compose, base: BaseModel, tmp_path: Path) -> Run:
    def run_with(kind: str, *overrides: str) -> Examples:
        config = composed(f"data={kind}", *(f"data.{o}" for o in overrides))["data"]
        (folder := tmp_path / "made").mkdir(exist_ok=True)
        return build_stage("data", config).run(base, folder)  # type: ignore[attr-defined, no-any-return]

    return run_with


def test_splits_that_are_missing_are_drawn_with_every_label_in_proportion(
    run: Run, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 90)
    made = run("jsonl", f"train={file}", "test_size=0.2", "validation_size=0.25")
    assert made.test_rows == 90 * 0.2
    assert made.validation_rows == (90 - 18) * 0.25
    assert made.train_rows == 90 - 18 - 18
    assert made.labels == LABELS
    for split in ("train", "validation", "test"):
        labels = list(made.load(split)["labels"])
        counts = [labels.count(number) for number in range(len(LABELS))]
        assert len(set(counts)) == 1


def test_same_seed_gives_the_same_split(run: Run, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 60)
    first, again, other = (
        list(run("jsonl", f"train={file}", f"seed={seed}").load("test")["input_ids"])
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_csv_jsonl_and_parquet_give_the_same_examples(run: Run, tmp_path: Path) -> None:
    from pyarrow import csv, json, parquet

    table = json.read_json(write_rows(tmp_path / "rows.jsonl", 60))
    csv.write_csv(table, tmp_path / "rows.csv")
    parquet.write_table(table, tmp_path / "rows.parquet")
    made = [
        list(run(kind, f"train={tmp_path}/rows.{kind}").load("train")["input_ids"])
        for kind in ("csv", "jsonl", "parquet")
    ]
    assert made[0] == made[1] == made[2]


def test_lengths_are_the_tokens_of_each_row(run: Run, tmp_path: Path) -> None:
    made = run("jsonl", f"train={write_rows(tmp_path / 'rows.jsonl', 60)}")
    table = made.load("train")
    assert list(table["length"]) == [len(ids) for ids in table["input_ids"]]
    # The tokenizer of the test model reads bytes and adds [CLS] and [SEP].
    assert made.longest == len("number 54 is very very very very apple") + 2


def test_texts_are_cut_at_max_length(run: Run, tmp_path: Path) -> None:
    made = run("jsonl", f"train={write_rows(tmp_path / 'rows.jsonl', 60)}", "max_length=8")
    assert made.longest == 8


def test_quoted_line_breaks_and_the_word_null_are_text(run: Run, tmp_path: Path) -> None:
    rows = ["text,label", *(f'"line {n}\nnull",{"ab"[n % 2]}' for n in range(40)), "NA,a", "null,b"]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    made = run("csv", f"train={tmp_path}/rows.csv")
    assert made.train_rows + made.validation_rows + made.test_rows == 42


def test_numbers_as_labels_keep_their_order(run: Run, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": n % 12} for n in range(240)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("jsonl", f"train={file}").labels == tuple(str(number) for number in range(12))


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("content", "overrides", "says"),
    [
        ("", [], "data.train: {file} is empty (0 bytes)"),
        ("text,label\n", [], "data: {file} has no rows"),
        ("words,label\na,b\n", [], "no column 'text' in {file}. Columns: words, label"),
        ("texts,label\na,b\n", [], "no column 'text' in {file}; did you mean 'texts'?"),
        ("text;label\na;b\n", [], "no column 'text' in {file}"),
        ("text,text,label\na,b,c\n", [], "data.train: {file} has the column 'text' twice"),
        ("text,label\na,b\n,c\n", [], "data: {file} row 2: 'text' is empty"),
        ("text,label\n1,b\n2,c\n", [], "data.text_column: 'text' of {file} holds int values"),
        ("text,label\na,b\nc,\n", [], "data: {file} row 2: 'label' is empty"),
        ("text,label\na,b\nc,b\n", [], "needs at least two different labels, found 1"),
        ("text,label\na,b\nc,d\n", [], "cannot set aside 10% of 2 rows with every label"),
        ("text,label\na,b,c\n", [], "cannot read {file} as csv"),
        ("text,label\na,b\nc,d\n", ["max_length=513"], "513 is above the model's limit of 512"),
    ],
)
def test_bad_file_is_named_with_what_is_wrong(
    content: str, overrides: list[str], says: str, run: Run, tmp_path: Path
) -> None:
    file = write(tmp_path / "rows.csv", content)
    with pytest.raises(StageError) as caught:
        run("csv", f"train={file}", *overrides)
    assert says.format(file=file) in str(caught.value)


def test_missing_file_suggests_the_nearest_in_its_folder(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "text,label\na,b\n")
    with pytest.raises(StageError, match=r"no such file: .*tran.csv; did you mean 'train.csv'\?"):
        run("csv", f"train={tmp_path}/tran.csv")


def test_folder_and_unknown_ending_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is a folder; expected a file"):
        run("csv", f"train={tmp_path}")
    write(tmp_path / "rows.xlsx", "x")
    with pytest.raises(StageError, match="rows.xlsx has an unknown ending; known: .csv"):
        run("csv", f"train={tmp_path}/rows.xlsx")


def test_label_that_only_the_test_split_has_is_refused(run: Run, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", 60)
    test = write_rows(tmp_path / "test.jsonl", 4, labels=("apple", "quince"))
    with pytest.raises(StageError, match=r"test.jsonl row 2: label 'quince' is not among the 3"):
        run("jsonl", f"train={train}", f"test={test}")


def test_pairs_of_texts_are_read_together(run: Run, tmp_path: Path) -> None:
    rows = [{"text": "ab", "other": "cde", "label": "xy"[n % 2]} for n in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = run("jsonl", f"train={file}", "text_pair_column=other")
    assert made.longest == 2 + 3 + 3  # [CLS] a b [SEP] c d e [SEP]
