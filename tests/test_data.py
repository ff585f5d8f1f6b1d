"""Rows become tokens and numbers; what is wrong with them is said with file and row."""

import hashlib
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

from pipeline.artifacts import BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import ConfigError, StageError
from pipeline.seal import digests

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


def as_csv(rows: list[dict[str, object]]) -> str:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def as_jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(("kind", "text"), [("csv", as_csv), ("jsonl", as_jsonl)])
@pytest.mark.parametrize("make", [int, str])
def test_whole_numbers_as_labels_are_ordered_by_value(
    kind: str,
    text: Callable[[list[dict[str, object]]], str],
    make: type,
    run: Run,
    tmp_path: Path,
) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"row {n}", "label": make(n % 12)} for n in range(240)
    ]
    file = write(tmp_path / "rows", text(rows))
    assert run(kind, f"train={file}").labels == tuple(str(number) for number in range(12))


def test_csv_labels_are_words_whatever_a_file_makes_them_look_like(
    run: Run, tmp_path: Path
) -> None:
    def rows(*labels: str) -> str:
        return as_csv([{"text": f"row {n}", "label": labels[n % len(labels)]} for n in range(60)])

    train = write(tmp_path / "train.csv", rows("01", "02", "x9", "true"))
    test = write(tmp_path / "test.csv", rows("01", "02"))
    made = run("csv", f"train={train}", f"test={test}")
    assert made.labels == ("01", "02", "true", "x9")
    assert set(made.load("test")["labels"]) == {0, 1}


def test_labels_compare_as_words_across_formats(run: Run, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"row {n}", "label": [1, 2, 10][n % 3]} for n in range(60)
    ]
    labels = [
        list(run(kind, f"train={write(tmp_path / 'rows', text(rows))}").load("train")["labels"])
        for kind, text in (("csv", as_csv), ("jsonl", as_jsonl))
    ]
    assert labels[0] == labels[1]
    switched: list[dict[str, object]] = [{"text": "on", "label": n % 2 == 0} for n in range(60)]
    assert run("jsonl", f"train={write(tmp_path / 'rows', as_jsonl(switched))}").labels == (
        "false",
        "true",
    )


def test_files_are_read_as_what_was_chosen_whatever_their_names_end_in(
    run: Run, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.csv", 60)
    assert run("jsonl", f"train={file}").labels == LABELS


@pytest.mark.parametrize("given", ["'\\t'", "'\t'"])
def test_a_tab_can_be_given_as_a_delimiter(given: str, run: Run, tmp_path: Path) -> None:
    rows = "".join(f"row {n}\t{'ab'[n % 2]}\n" for n in range(40))
    file = write(tmp_path / "rows.tsv", "text\tlabel\n" + rows)
    assert run("csv", f"train={file}", f"delimiter={given}").labels == ("a", "b")


@pytest.mark.parametrize("delimiter", ["'||'", "'§'", "'\"'"])
def test_delimiter_is_one_character(delimiter: str, composed: Compose) -> None:
    config = composed("data=csv", "data.train=x", f"data.delimiter={delimiter}")["data"]
    with pytest.raises(ConfigError, match="data.delimiter must be one ASCII character .*, got"):
        build_stage("data", config)


def test_shares_are_between_nothing_and_everything(composed: Compose) -> None:
    config = composed("data=csv", "data.train=x", "data.test_size=1.0")["data"]
    with pytest.raises(ConfigError, match="data.test_size must be between 0 and 1, got 1.0"):
        build_stage("data", config)


def test_options_have_no_setting_that_does_nothing(composed: Compose) -> None:
    drawing = {"validation_size", "test_size", "seed"}
    assert not (drawing | {"delimiter"}) & set(composed("data=support")["data"])
    for option in ("csv", "jsonl", "parquet", "hub"):
        settings = set(composed(f"data={option}")["data"])
        assert drawing <= settings
        assert ("delimiter" in settings) == (option == "csv")


def test_the_files_that_were_read_are_told_with_their_hashes(run: Run, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", 60)
    test = write_rows(tmp_path / "test.jsonl", 6)
    made = run("jsonl", f"train={train}", f"test={test}")
    assert made.revision is None
    assert [(source.path, source.sha256, source.size) for source in made.sources] == [
        (file, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
        for file in (train, test)
    ]
    shipped = run("support")
    assert [source.path.name for source in shipped.sources] == [
        "train.jsonl", "validation.jsonl", "test.jsonl",
    ]  # fmt: skip


def test_the_same_rows_for_two_splits_are_refused(run: Run, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", 60)
    copy = write(tmp_path / "copy.jsonl", train.read_text())
    says = r"data.test: .*copy.jsonl is the same file as data.train, byte for byte; data.test=null"
    with pytest.raises(StageError, match=says):
        run("jsonl", f"train={train}", f"test={copy}")


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8", newline="")
    return file


def counted(made: Examples) -> int:
    return made.train_rows + made.validation_rows + made.test_rows


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 5], ("0", "5")),
        ([1, 2, 3], ("1", "2", "3")),
        ([0, -1], ("-1", "0")),
        (["pos", "neg"], ("neg", "pos")),
        ([True, False], ("false", "true")),
        (["1.5a", "x"], ("1.5a", "x")),
    ],
)
def test_labels_are_names_of_any_kind(
    labels: list[object], names: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"row {n}", "label": labels[n % len(labels)]} for n in range(60)
    ]
    assert run("jsonl", f"train={write(tmp_path / 'rows', as_jsonl(rows))}").labels == names


def test_empty_rows_are_left_out_when_asked(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40))
    file = write(tmp_path / "rows.csv", f"text,label\n{good},a\nwords,\n  ,b\n")
    with pytest.raises(StageError, match=r"line 42: 'text' is empty \(and 1 more\); .*drop_empty"):
        run("csv", f"train={file}")
    assert counted(run("csv", f"train={file}", "drop_empty=true")) == 40
    assert "data.train: 3 of 43 rows are empty, left out" in caplog.text


def test_rows_after_one_that_was_left_out_keep_their_lines(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", "text,label\n,a\n\ntext,a\nmore,-100\n")
    with pytest.raises(StageError, match=r"rows.csv line 5: the label -100 stands for 'no label'"):
        run("csv", f"train={file}", "drop_empty=true")


def test_texts_that_two_splits_share_are_counted(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = write_rows(tmp_path / "train.jsonl", 60)
    lines = train.read_text().splitlines(keepends=True)
    new = json.dumps({"text": "never seen", "label": "pear"}) + "\n"
    test = write(tmp_path / "test.jsonl", "".join(lines[:5]) + new)
    run("jsonl", f"train={train}", f"test={test}")
    assert "5 of 6 texts of data.test are in data.train as well" in caplog.text


def test_labels_that_differ_in_a_space_or_a_capital_are_told(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = ("pear", "pear ", "Pear", "plum")
    made = run("jsonl", f"train={write_rows(tmp_path / 'rows.jsonl', 80, labels)}")
    assert len(made.labels) == 4
    assert "the labels 'Pear', 'pear', 'pear ' differ in spaces or capitals alone" in caplog.text


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize(
    ("encoding", "given"),
    [("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("cp1252", "cp1252"), ("utf-8", "UTF8")],
)
def test_files_of_any_machine_are_read(
    end: str, encoding: str, given: str, run: Run, tmp_path: Path
) -> None:
    rows = ["text,label", *(f"für {n},{'äb'[n % 2]}" for n in range(40)), ""]
    (file := tmp_path / "rows.csv").write_bytes(end.join(rows).encode(encoding))
    made = run("csv", f"train={file}", f"encoding={given}")
    assert made.labels == ("b", "ä")
    assert counted(made) == 40
    tokens = {len("für 1".encode()) + 2, len("für 11".encode()) + 2}  # and [CLS], [SEP]
    assert {*made.load("train")["length"]} == tokens


def test_columns_that_nobody_asked_for_may_hold_anything(run: Run, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"text": f"row {n}", "label": "ab"[n % 2], "more": [1, "x", None, {}][n % 4]}
        for n in range(40)
    ]
    assert counted(run("jsonl", f"train={write(tmp_path / 'rows', as_jsonl(rows))}")) == 40


def test_line_of_a_mistake_counts_the_lines_of_the_file(run: Run, tmp_path: Path) -> None:
    text = 'text,label\n"one\ntwo\r\nthree",a\n\n"say ""x""",b\nc,\n'
    with pytest.raises(StageError, match=r"rows.csv line 7: 'label' is empty;"):
        run("csv", f"train={write(tmp_path / 'rows.csv', text)}")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    from pipeline.data.reading import digest

    file = write_rows(tmp_path / "rows.jsonl", 60)
    file.chmod(0)
    mine = os.geteuid()
    try:
        if mine == 0:  # nothing is forbidden to root
            os.seteuid(65534)
        with pytest.raises(StageError, match=r"data.train: cannot read .*: Permission denied$"):
            digest(file, "data.train", "JSON Lines")
    finally:
        os.seteuid(mine)


def test_a_hundred_thousand_rows_are_looked_at_in_seconds(
    base: BaseModel, composed: Compose, tmp_path: Path
) -> None:
    lines = (json.dumps({"text": f"für {n}", "label": n % 7}) for n in range(100_000))
    file = write(tmp_path / "rows.jsonl", "\n".join(lines))
    stage: Any = build_stage("data", composed("data=jsonl", f"data.train={file}")["data"])
    started = time.process_time()
    made = stage.look(base, tmp_path)
    assert time.process_time() - started < 5  # 1.5 s on a machine of 2026
    assert counted(made) == 100_000


def test_texts_of_unknown_tokens_are_refused_with_their_share(
    base: BaseModel, composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(base.folder, folder := tmp_path / "model")
    told = json.loads((folder / "tokenizer.json").read_text())
    words = told["model"]["vocab"]  # of the bytes, keep the small letters and the space
    kept = {w: n for w, n in words.items() if len(w) > 1 or w in "abcdefghijklmnopqrstuvwxyzĠ"}
    told["model"]["vocab"] = kept
    (folder / "tokenizer.json").write_text(json.dumps(told))
    deaf = replace(base, folder=folder)

    def train(text: str) -> None:
        rows: list[dict[str, object]] = [{"text": text, "label": "ab"[n % 2]} for n in range(40)]
        file = write(tmp_path / "rows.jsonl", as_jsonl(rows))
        (made := tmp_path / "made").mkdir(exist_ok=True)
        stage: Any = build_stage("data", composed("data=jsonl", f"data.train={file}")["data"])
        stage.run(deaf, made)

    with pytest.raises(StageError, match=r"data.text_column: 60% of the tokens .* \(\[UNK\]\)"):
        train("abcdABCDEF")
    train("abcdefghAB")
    assert "20% of the tokens of the training texts are unknown" in caplog.text


def test_seventy_percent_of_unknown_rows_do_not_count_the_frame(base: BaseModel) -> None:
    from pipeline.data.table import _check_known

    tokenizer = base.load_tokenizer()
    unknown = tokenizer.unk_token_id
    _check_known([[2, unknown, 9, 3]], tokenizer, pair=False)  # one of two words is no majority
    with pytest.raises(StageError, match="67% of the tokens"):
        _check_known([[2, unknown, unknown, 9, 3]], tokenizer, pair=False)


def test_same_rows_make_the_same_bytes(run: Run, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", 60)
    first = digests(run("jsonl", f"train={file}").folder)
    shutil.rmtree(tmp_path / "made")
    assert digests(run("jsonl", f"train={file}").folder) == first
    assert {name.split("/")[0] for name in first} == {
        "train", "validation", "test", "preview.json",
    }  # fmt: skip


@pytest.mark.slow
def test_other_processes_make_the_same_bytes(base: BaseModel, tmp_path: Path) -> None:
    """Neither the time nor the order in which Python's sets are walked is in the tables."""
    file = write_rows(tmp_path / "rows.jsonl", 60)
    program = (
        "import sys; from pathlib import Path; from pipeline.artifacts import BaseModel\n"
        "from pipeline.data import JsonLines; from pipeline.seal import contents, digests\n"
        "base = BaseModel(folder=Path(sys.argv[1]), weights=(), name='', repo_id=None,\n"
        "    revision=None, source='', task='sequence_classification', auto_class='')\n"
        "JsonLines(train=Path(sys.argv[2]), validation=None, test=None, text_column='text',\n"
        "    text_pair_column=None, label_column='label', max_length=None, drop_empty=False,\n"
        "    validation_size=0.1, test_size=0.1, seed=0).run(base, Path(sys.argv[3]))\n"
        "print(contents(digests(Path(sys.argv[3]))))\n"
    )
    told = set()
    for seed in ("1", "2"):
        (made := tmp_path / seed).mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", program, str(base.folder), str(file), str(made)],
            capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        told.add(ended.stdout)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("content", "overrides", "says"),
    [
        ("", [], "data.train: {file} is empty (0 bytes)"),
        ("text,label\n", [], "data.train: {file} has no rows but the names of its columns"),
        ("words,label\na,b\n", [], "no column 'text' in {file}. Columns: words, label"),
        ("texts,label\na,b\n", [], "no column 'text' in {file}; did you mean 'texts'?"),
        ("text;label\na, b;c\n", [], "column 'text;label'; set \"data.delimiter=';'\""),
        ("text|label\na|b\n", [], "column 'text|label'; set \"data.delimiter='|'\""),
        ("text\tlabel\na\tb\n", [], "set \"data.delimiter='\\t'\""),
        ("text,label\na,b\n", ["delimiter='|'"], "column 'text,label'; set \"data.delimiter=','\""),
        (
            "text,text,label\na,b,c\n",
            [],
            "data.train: {file} line 1: the column 'text' is there twice",
        ),
        ("text,label\na,b\n,c\n", [], "data.train: {file} line 3: 'text' is empty; fix it"),
        (
            "text,label\n1,b\n2,c\n",
            [],
            "{file} line 2: 'text' holds numbers, not text ('1'); set data.text_column",
        ),
        ("text,label\n-1.5,b\n1e3,c\n", [], "holds numbers, not text ('-1.5')"),
        (
            "text,o,label\na,1,b\nb,2,c\n",
            ["text_pair_column=o"],
            "line 2: 'o' holds numbers, not text ('1'); set data.text_pair",
        ),
        ("text,label\na,b\nc,\n", [], "data.train: {file} line 3: 'label' is empty"),
        ("text,label\na,b\nc,b\n", [], "needs at least two different labels, found 1: 'b' in"),
        ("text,label\na,b\nc,d\n", [], "cannot set aside 10% of 2 rows with every label"),
        (
            "text,label\na,b,c\n",
            [],
            "data.train: {file} line 2: 3 fields, expected 2; a text with ',' in",
        ),
        ('text,label\na,b\n"c,d\ne,f\n', [], "{file} line 3: a quote is opened and never closed"),
        ('text,label\na,b\nc,"d\ne,f\n', [], "{file} line 3: a quote is opened and never closed"),
        (
            '{{"text": "a", "label": 1}}\n',
            [],
            "is not CSV, it looks like JSON Lines; use data=jsonl",
        ),
        ('[{{"text": "a", "label": 1}}]\n', [], "is one JSON array; write one object a line"),
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


def test_folder_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is a folder; expected a CSV file"):
        run("csv", f"train={tmp_path}")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text,label\na,b\n".encode("utf-16"), "looks like UTF-16; convert it to UTF-8"),
        ("text,label\na,b\n".encode("utf-16-be"), "looks like UTF-16; convert it to UTF-8"),
        (b"PK\x03\x04 a sheet", "is a zip file or a sheet of Excel, not text; save it as CSV"),
        (bytes(range(32)) * 4, "is not a text file; save it as CSV, JSON Lines or Parquet"),
    ],
)
def test_file_that_is_not_plain_text_is_refused(
    kind: str, content: bytes, says: str, run: Run, tmp_path: Path
) -> None:
    (file := tmp_path / "rows").write_bytes(content)
    with pytest.raises(StageError, match=f"data.train: {file} {says}"):
        run(kind, f"train={file}")


def test_file_of_another_format_is_named_with_the_option_for_it(run: Run, tmp_path: Path) -> None:
    from pyarrow import json as arrow_json
    from pyarrow import parquet

    files = {
        "csv": write(tmp_path / "a", "text,label\na,b\n"),
        "jsonl": write_rows(tmp_path / "b", 6),
        "parquet": tmp_path / "c",
    }
    parquet.write_table(arrow_json.read_json(files["jsonl"]), files["parquet"])
    for chosen in files:
        for kind, file in files.items():
            if kind != chosen:
                with pytest.raises(StageError, match=f"it looks like .*; use data={kind}$"):
                    run(chosen, f"train={file}")


def test_label_that_only_the_test_split_has_is_refused(run: Run, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", 60)
    test = write_rows(tmp_path / "test.jsonl", 4, labels=("apple", "quince"))
    with pytest.raises(StageError, match=r"test.jsonl line 2: label 'quince' is not among the 3"):
        run("jsonl", f"train={train}", f"test={test}")


def test_pairs_of_texts_are_read_together(run: Run, tmp_path: Path) -> None:
    rows = [{"text": "ab", "other": "cde", "label": "xy"[n % 2]} for n in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = run("jsonl", f"train={file}", "text_pair_column=other")
    assert made.longest == 2 + 3 + 3  # [CLS] a b [SEP] c d e [SEP]


Cached = Callable[..., Path]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    """Return a function that makes a data set in the hub's layout, which needs no network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def make(**splits: list[int]) -> Path:
        names = datasets.ClassLabel(names=["neg", "pos"])
        features = datasets.Features({"sentence": datasets.Value("string"), "label": names})
        (folder := tmp_path / "set").mkdir()
        for split, labels in splits.items():
            rows = {"sentence": [f"row {n}" for n in range(len(labels))], "label": labels}
            table = datasets.Dataset.from_dict(rows, features=features)
            table.to_parquet(str(folder / f"{split}.parquet"))
        return folder

    return make


def test_hub_labels_keep_their_names_and_the_version_is_told(run: Run, cached: Cached) -> None:
    folder = cached(train=[1, 0] * 30, validation=[0, 1])
    made = run("hub", f"repo_id={folder}", "config_name=null")
    assert made.labels == ("neg", "pos")
    assert list(made.load("validation")["labels"]) == [0, 1]
    assert made.sources == ()
    # Of a data set on the hub, the commit; of a folder, a hash of its files.
    assert made.revision is not None
    assert int(made.revision, 16) > 0


def test_hidden_labels_are_refused(run: Run, cached: Cached) -> None:
    folder = cached(train=[1, 0] * 30, validation=[0, 1], test=[-1, -1])
    with pytest.raises(StageError, match=r"data.test: .*\(test\) row 1: label is hidden \(-1\)"):
        run("hub", f"repo_id={folder}", "config_name=null", "test=test")


def test_unknown_data_set_config_or_split_is_named(run: Run, cached: Cached) -> None:
    folder = cached(train=[1, 0] * 30, validation=[0, 1])
    with pytest.raises(StageError, match="data.repo_id: 'no/such' is neither in the local cache"):
        run("hub", "repo_id=no/such")
    with pytest.raises(StageError, match="config_name=sst3: .* Available: "):
        run("hub", f"repo_id={folder}", "config_name=sst3")
    with pytest.raises(StageError, match="data.test: no split 'tset' in .* Splits: train, valid"):
        run("hub", f"repo_id={folder}", "config_name=null", "test=tset")


def test_a_mistake_of_ours_is_not_blamed_on_the_hub(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def broken(*_: object, **__: object) -> None:
        raise TypeError("unexpected keyword argument")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(TypeError, match="unexpected keyword"):
        run("hub")
