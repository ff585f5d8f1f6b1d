"""A label a word, any number of labels, a number: how each is read, measured and refused."""

from __future__ import annotations

import importlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from datasets import load_from_disk
from forked import command_line, fork

from pipeline.artifacts import BaseModel, Examples
from pipeline.build import build_stage
from pipeline.errors import StageError
from pipeline.tasks import task_named
from pipeline.tasks.token_classification import TASK as TOKENS

Make = Callable[..., Examples]
NONE = -100


@pytest.fixture
def make(composed: Compose, base: BaseModel, tmp_path: Path) -> Make:
    """Return a function that runs the data stage for a task."""

    def made(task: str, kind: str, *overrides: str, model: BaseModel = base) -> Examples:
        config = composed(f"data={kind}", *(f"data.{each}" for each in overrides))["data"]
        (folder := tmp_path / "made").mkdir(exist_ok=True)
        stage: Any = build_stage("data", config)
        result: Examples = stage.run(replace(model, task=task), folder)
        return result

    return made


def write(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def rows_of(made: Examples) -> list[dict[str, Any]]:
    return [row for split in ("train", "validation", "test") for row in made.load(split)]


# A label a word


def sentences(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Places begin with z, and may go on with a word in q; people begin with a; others do not."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    rows = []
    for _ in range(count):
        words, labels = [], []
        for _ in range(draw.randint(3, 7)):
            kind = draw.choice("apoo")
            words.append({"a": "a", "p": "z", "o": "m"}[kind] + draw.choice("bcd") * 2)
            labels.append({"a": "B-PER", "p": "B-LOC", "o": "O"}[kind])
            if kind == "p" and draw.random() < 0.5:
                words.append("q" + draw.choice("bcd") * 2)
                labels.append("I-LOC")
        rows.append({"text": words, "label": labels})
    return rows


def test_a_label_lies_on_the_first_piece_of_its_word(make: Make, tmp_path: Path) -> None:
    rows = [{"text": ["ab", "c", "def"], "label": ["x", "y", "x"]}] * 30
    made = make("token_classification", "jsonl", f"train={write(tmp_path / 'rows', rows)}")
    assert made.labels == ("x", "y")
    (row, *_) = rows_of(made)
    # The tokenizer of the test model reads bytes: [CLS] _ a b _ c _ d e f [SEP].
    x, y = 0, 1
    assert row["labels"] == [NONE, NONE, x, NONE, NONE, y, NONE, x, NONE, NONE, NONE]
    assert row["items"] == 3
    assert row["length"] == len(row["input_ids"]) == 11


def test_words_beyond_the_longest_text_are_counted_and_left_out(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": ["ab", "cd", "ef"], "label": ["x", "y", "x"]}] * 30
    file = write(tmp_path / "rows", rows)
    made = make("token_classification", "jsonl", f"train={file}", "max_length=8")
    # Of [CLS] _ a b _ c d _ e f [SEP] eight are [CLS] _ a b _ c d [SEP].
    assert {row["items"] for row in rows_of(made)} == {2}
    lost = [record.message for record in caplog.records if "left out" in record.message]
    assert f"data.train: {made.train_rows} words" in "".join(lost)


def test_a_row_of_which_no_word_is_left_is_refused(make: Make, tmp_path: Path) -> None:
    rows = [{"text": ["ab"], "label": ["xy"[n % 2]]} for n in range(30)]
    file = write(tmp_path / "rows", rows)
    with pytest.raises(StageError, match=r"line 1: the model's tokenizer makes nothing of 'text'"):
        make("token_classification", "jsonl", f"train={file}", "max_length=3")


def test_loss_is_the_mean_over_words_however_they_are_padded() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[NONE, 2, NONE, 0], [NONE, 1, NONE, NONE]])
    probabilities = torch.softmax(logits, dim=-1)
    expected = -sum(
        math.log(probabilities[row, place, label])
        for row, place, label in ((0, 1, 2), (0, 3, 0), (1, 1, 1))
    )
    assert TOKENS.loss(logits, labels, 3).item() == pytest.approx(expected / 3)


def test_a_batch_is_padded_with_labels_that_count_for_nothing(base: BaseModel) -> None:
    rows = [
        {"input_ids": [2, 9, 9, 3], "attention_mask": [1] * 4, "labels": [NONE, 1, 0, NONE],
         "length": 4, "items": 2},
        {"input_ids": [2, 9, 3], "attention_mask": [1] * 3, "labels": [NONE, 1, NONE],
         "length": 3, "items": 1},
    ]  # fmt: skip
    batch = TOKENS.collate(base)(rows)
    assert batch["labels"].tolist() == [[NONE, 1, 0, NONE], [NONE, 1, NONE, NONE]]
    assert set(batch) == {"input_ids", "attention_mask", "labels"}


def judged(chosen: Sequence[str], right: Sequence[str], names: Sequence[str]) -> np.ndarray:
    numbers = [[names.index(each) for each in row] for row in (chosen, right)]
    logits = torch.nn.functional.one_hot(torch.tensor(numbers[0]), len(names)).float()
    # A frame of pieces without a label is around the words.
    padded = torch.nn.functional.pad(logits, (0, 0, 1, 1))
    labels = torch.tensor([NONE, *numbers[1], NONE])
    (row,) = TOKENS.judged(padded[None], labels[None])
    found: np.ndarray = row
    return found


@pytest.mark.parametrize("letters", ["BIO", "BILOU"])
def test_entities_are_right_as_a_whole_or_not_at_all(letters: str) -> None:
    b, i, last, alone = ("B", "I", "I", "B") if letters == "BIO" else ("B", "I", "L", "U")
    names = tuple(sorted({"O", *(f"{each}-{kind}" for each in (b, i, last, alone)
                                 for kind in ("PER", "LOC"))}))  # fmt: skip
    right = [f"{b}-PER", f"{last}-PER", "O", f"{alone}-LOC", "O", f"{alone}-PER"]
    # One whole, one with another kind, one missed, one half of what it should be.
    chosen = [f"{b}-PER", f"{last}-PER", "O", f"{alone}-PER", "O", "O"]
    more_right = [f"{b}-LOC", f"{i}-LOC", f"{last}-LOC"]
    more_chosen = [f"{b}-LOC", f"{last}-LOC", "O"]
    found = TOKENS.metrics(
        [judged(chosen, right, names), judged(more_chosen, more_right, names)], names
    )
    whole, there, named = 1, 4, 3
    precision, recall = whole / named, whole / there
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    same = sum(a == b for a, b in zip(chosen + more_chosen, right + more_right, strict=True))
    assert found["accuracy"] == pytest.approx(same / len(right + more_right))


def test_labels_that_mark_no_entities_are_measured_word_by_word() -> None:
    names = ("NOUN", "VERB")
    rows = [judged(["NOUN", "VERB", "NOUN"], ["NOUN", "VERB", "VERB"], names)]
    found = TOKENS.metrics(rows, names)
    noun, verb = 2 * 1 / (2 + 1), 2 * 1 / (1 + 2)  # 2 TP / (chosen + there)
    assert found == pytest.approx({"accuracy": 2 / 3, "f1": (noun + verb) / 2})


BAD_WORDS: dict[str, tuple[dict[str, Any], str]] = {
    "lengths": ({"text": ["a", "b"], "label": ["x"]}, "'text' has 2 words and 'label' has 1 label"),
    "a word": ({"text": ["a", 7], "label": ["x", "y"]}, "word 2 of 'text' is 7, not text"),
    "empty": ({"text": [], "label": []}, "'text' is empty"),
    "a text": ({"text": "a b", "label": ["x", "y"]}, "'text' is 'a b', not a list of words"),
    "a label": ({"text": ["a"], "label": "x"}, "'label' is 'x', not a list of labels"),
    "kinds": ({"text": ["a"], "label": [1]}, "the label 1 is whole numbers"),
    "no label": ({"text": ["a"], "label": [None]}, "'label' has an empty label in its list"),
    "nested": ({"text": ["a"], "label": [["x"]]}, "is a list, not a word or a number"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_what_is_no_list_of_words_and_labels_is_refused_with_its_line(
    case: str, make: Make, tmp_path: Path
) -> None:
    bad, says = BAD_WORDS[case]
    file = write(tmp_path / "rows", [*sentences(30), bad])
    with pytest.raises(StageError) as refused:
        make("token_classification", "jsonl", f"train={file}")
    assert f"data.train: {file} line 31: " in str(refused.value)
    assert says in str(refused.value)


def test_a_tag_that_training_lacks_is_refused_with_its_line(make: Make, tmp_path: Path) -> None:
    train = write(tmp_path / "train", sentences(30))
    other = write(
        tmp_path / "other", [*sentences(2, seed=1), {"text": ["a", "b"], "label": ["O", "B-LCO"]}]
    )
    with pytest.raises(StageError, match=r"data.validation: .*other line 3: label 'B-LCO'.*B-LOC"):
        make("token_classification", "jsonl", f"train={train}", f"validation={other}")


def test_words_have_no_second_text(make: Make, tmp_path: Path) -> None:
    file = write(tmp_path / "rows", sentences(30))
    with pytest.raises(StageError, match=r"data.text_pair_column: token_classification"):
        make("token_classification", "jsonl", f"train={file}", "text_pair_column=more")


def test_a_tokenizer_that_tells_no_words_is_refused(
    make: Make, base: BaseModel, tmp_path: Path
) -> None:
    from transformers import ByT5Tokenizer

    slow = tmp_path / "slow"
    base.load_config().save_pretrained(slow)
    ByT5Tokenizer().save_pretrained(slow)
    file = write(tmp_path / "rows", sentences(30))
    with pytest.raises(StageError, match=r"model.task: .* ByT5Tokenizer does not tell"):
        make("token_classification", "jsonl", f"train={file}", model=replace(base, folder=slow))


def test_words_are_cut_as_in_a_running_text(base: BaseModel) -> None:
    from pipeline.tasks.words import pieces_of

    tokenizer = base.load_tokenizer()
    pieces = pieces_of([["one", "two"]], tokenizer, 100)
    running = tokenizer("so one two")["input_ids"]
    frame, so = 1, 2
    assert pieces.inputs["input_ids"][0][frame:] == running[frame + so :]


# Any number of labels

TOPICS = ("aaa", "bbb", "ccc")


def topics(count: int) -> list[dict[str, Any]]:
    draw = random.Random(0)  # noqa: S311 - no secret
    chosen = [[each for each in TOPICS if draw.random() < 0.4] for _ in range(count)]
    return [{"text": f"{' '.join(each)} z", "label": each} for each in chosen]


def test_lists_and_texts_with_semicolons_give_the_same_labels(make: Make, tmp_path: Path) -> None:
    rows = topics(40)
    listed = write(tmp_path / "rows.jsonl", rows)
    file = tmp_path / "rows.csv"
    lines = [f"{row['text']},{'; '.join(row['label'])}" for row in rows]
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    task = "multi_label_classification"
    made = [rows_of(make(task, kind, f"train={each}")) for kind, each in
            (("jsonl", listed), ("csv", file))]  # fmt: skip
    assert [row["labels"] for row in made[0]] == [row["labels"] for row in made[1]]
    texts = {tuple(row["labels"]) for row in made[0]}
    assert (0.0, 0.0, 0.0) in texts  # a row without labels is a row like any other
    assert sum(sum(row["labels"]) for row in made[0]) == sum(len(row["label"]) for row in rows)


def test_loss_is_summed_over_labels_and_the_mean_over_rows() -> None:
    logits = torch.tensor([[1.5, -0.5], [0.0, 2.0]])
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = [(1.5, 1), (-0.5, 0), (0.0, 0), (2.0, 1)]
    expected = -sum(math.log(1 / (1 + math.exp(-z if one else z))) for z, one in right)
    found = task_named("multi_label_classification").loss(logits, labels, 2)
    assert found.item() == pytest.approx(expected / 2)


def test_f1_counts_labels_and_exact_match_counts_rows() -> None:
    task = task_named("multi_label_classification")
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    logits = torch.tensor([[0.1, -3.0], [2.0, -0.1], [-1.0, 4.0]])
    # Of the first label both are found; of the second the one is missed, and one is made up.
    found = task.metrics(task.judged(logits, labels))
    micro = 2 * 2 / (2 * 2 + 1 + 1)
    assert found == pytest.approx({"micro_f1": micro, "macro_f1": 1 / 2, "exact_match": 1 / 3})


def test_one_label_that_is_there_or_not_is_enough(make: Make, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": ["spam"] * (n % 2)} for n in range(40)]
    made = make("multi_label_classification", "jsonl", f"train={write(tmp_path / 'rows', rows)}")
    assert made.labels == ("spam",)
    task = task_named("multi_label_classification")
    right = torch.tensor([[1.0], [0.0], [1.0]])
    found = task.metrics(task.judged(torch.tensor([[1.0], [1.0], [-1.0]]), right))
    assert found["macro_f1"] == found["micro_f1"] == pytest.approx(2 * 1 / (2 + 1 + 1))


BAD_LISTS: dict[str, tuple[object, str]] = {
    "a word": ("aaa", "'label' is 'aaa', not a list of labels as in other rows"),
    "a vector": ([0, 1, 0], "the label '0' twice; write the names of the row's labels, not a 0"),
    "twice": (["aaa", "aaa"], "the label 'aaa' twice; write it once"),
    "an object": ([{"a": 1}], "is a dict, not a word or a number"),
    "nothing": (["aaa", ""], "'label' has an empty label in its list"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_what_is_no_list_of_labels_is_refused_with_its_line(
    case: str, make: Make, tmp_path: Path
) -> None:
    bad, says = BAD_LISTS[case]
    rows = topics(30) if case != "a vector" else []
    file = write(tmp_path / "rows", [*rows, {"text": "row", "label": bad}])
    with pytest.raises(StageError) as refused:
        make("multi_label_classification", "jsonl", f"train={file}")
    assert f"line {len(rows) + 1}: " in str(refused.value)
    assert says in str(refused.value)


def test_a_single_label_task_tells_of_those_for_lists(make: Make, tmp_path: Path) -> None:
    file = write(tmp_path / "rows", topics(30)[1:])
    with pytest.raises(StageError, match=r"model.task=multi_label_classification"):
        make("sequence_classification", "jsonl", f"train={file}", "drop_empty=true")


# A number


def ratings(count: int) -> list[dict[str, Any]]:
    """As many z in the text as the half of the number says."""
    draw = random.Random(0)  # noqa: S311 - no secret
    numbers = [draw.randint(0, 6) for _ in range(count)]
    return [{"text": "z" * n + "a" * (6 - n) + f" {row % 7}", "label": n / 2}
            for row, n in enumerate(numbers)]  # fmt: skip


def test_a_number_is_the_same_in_csv_and_json(make: Make, tmp_path: Path) -> None:
    rows = ratings(40)
    listed = write(tmp_path / "rows.jsonl", rows)
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(["text,label", *(f"{r['text']},{r['label']}" for r in rows)]) + "\n")
    made = [make("regression", kind, f"train={each}") for kind, each in
            (("jsonl", listed), ("csv", file))]  # fmt: skip
    assert made[0].labels == ("label",)  # the one output is called what the column is
    one, other = ([row["labels"] for row in rows_of(each)] for each in made)
    assert one == other
    assert sorted(one) == sorted(row["label"] for row in rows)


def test_loss_is_the_mean_of_the_squares() -> None:
    task = task_named("regression")
    found = task.loss(torch.tensor([[1.0], [2.5]]), torch.tensor([0.0, 3.0]), 2)
    assert found.item() == pytest.approx((1.0**2 + 0.5**2) / 2)


def test_correlations_and_errors_follow_their_formulas() -> None:
    task = task_named("regression")
    found, right = np.array([1.0, 4.0, 2.0, 9.0]), np.array([1.5, 2.0, 3.0, 4.0])
    told = task.metrics(task.judged(torch.tensor(found)[:, None], torch.tensor(right)))

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()))

    ranks = np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert told == pytest.approx(
        {
            "pearson": correlation(found, right),
            "spearman": correlation(*ranks),
            "mse": np.mean((found - right) ** 2),
            "mae": np.mean(abs(found - right)),
        }
    )
    assert not task.greater_is_better
    assert task.best_metric in told


def test_a_correlation_that_does_not_exist_is_told_as_none() -> None:
    task = task_named("regression")
    for logits in (torch.ones(3, 1), torch.ones(1, 1)):
        told = task.metrics(task.judged(logits, torch.arange(float(len(logits)))))
        assert told["pearson"] == told["spearman"] == 0.0
        assert all(math.isfinite(value) for value in told.values())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("good", "'label' is 'good', not a number such as 4 or 3.5"),
        ("3,5", "not a number such as 4 or 3.5; write a decimal point"),
        ("1_000", "'label' is '1_000', not a number"),
        ("nan", "'label' is 'nan', which is not finite"),
        (True, "'label' is True, not a number"),
        ([1.0], "'label' is [1.0], not a number"),
        (1e39, "which is not finite in float32"),
        (10**400, "which is not finite in float32"),
        (None, "'label' is empty"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_label_that_is_no_number_is_refused_with_its_line(
    value: object, says: str, make: Make, tmp_path: Path
) -> None:
    file = write(tmp_path / "rows", [*ratings(30), {"text": "row", "label": value}])
    with pytest.raises(StageError) as refused:
        make("regression", "jsonl", f"train={file}")
    assert "line 31: " in str(refused.value)
    assert says in str(refused.value)


def test_a_number_that_is_the_same_in_every_row_is_refused(make: Make, tmp_path: Path) -> None:
    file = write(tmp_path / "rows", [{"text": f"row {n}", "label": 2.5} for n in range(30)])
    with pytest.raises(StageError, match=r"'label' is 2.5 in every training row"):
        make("regression", "jsonl", f"train={file}")


@pytest.mark.parametrize("task", ["multi_label_classification", "regression"])
def test_pairs_of_texts_are_read_as_one_input(task: str, make: Make, tmp_path: Path) -> None:
    rows = [
        {"text": "a", "pair": "bcd", "label": n if task == "regression" else ["ab"[n % 2]]}
        for n in range(30)
    ]
    file = write(tmp_path / "rows", rows)
    made = make(task, "jsonl", f"train={file}", "text_pair_column=pair")
    assert made.longest == len("a") + len("bcd") + 3  # [CLS] and two [SEP]


# Names of labels


def named(folder: Path) -> Path:
    """Write a data set as the hub has it: a folder of Parquet files that describe their labels."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    folder.mkdir()
    features = Features(
        {
            "words": List(Value("string")),
            "tags": List(ClassLabel(names=["O", "B-PER", "I-PER"])),
            "text": Value("string"),
            "label": ClassLabel(names=["zebra", "ant"]),
        }
    )
    for split, rows in (("train", 30), ("validation", 6)):
        table = {
            "words": [["hello", "ada", "king"]] * rows,
            "tags": [[0, 1, 2]] * rows,
            "text": [f"{split} {n}" for n in range(rows)],
            "label": [n % 2 for n in range(rows)],
        }
        Dataset.from_dict(table, features=features).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["hub", "parquet"])
def test_names_of_labels_are_kept_in_lists_and_alone(
    kind: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = named(tmp_path / "set")
    where = (
        (f"repo_id={folder}", "config_name=null")
        if kind == "hub"
        else (f"train={folder}/train.parquet", f"validation={folder}/validation.parquet")
    )
    made = make("token_classification", kind, *where, "text_column=words", "label_column=tags")
    assert made.labels == ("B-PER", "I-PER", "O")
    (row, *_) = made.load("train")
    assert [made.labels[number] for number in row["labels"] if number != NONE] == [
        "O", "B-PER", "I-PER",
    ]  # fmt: skip
    made = make("sequence_classification", kind, *where, "text_column=text", "label_column=label")
    assert made.labels == ("ant", "zebra")


def test_a_hidden_label_is_told_with_its_row(make: Make, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])})
    rows = {"text": ["one", "two", "three"], "label": [0, 1, -1]}
    file = tmp_path / "rows.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(file)
    with pytest.raises(StageError, match=r"data.train: .*rows.parquet row 3: label is hidden"):
        make("sequence_classification", "parquet", f"train={file}")


# Whole runs


def run(task: str, rows: list[dict[str, Any]], folder: Path) -> tuple[Path, dict[str, float]]:
    """Run all stages; return the run's folder, and the metrics of the trained model."""
    for library in ("onnxruntime", "onnxscript", "peft", "sklearn.metrics"):
        importlib.import_module(library)  # once, not in each fork
    file = write(folder / "rows.jsonl", rows)
    arguments = (
        "+recipe=lora_bert", "model=random_bert", f"model.task={task}", "data=jsonl",
        f"data.train={file}", "data.test_size=0.2", "data.label_column=label",
        "finetune.learning_rate=0.03", "finetune.num_train_epochs=6",
        "finetune.train_batch_size=8", "visualize.pictures=never", "visualize.open=never",
    )  # fmt: skip
    ended = fork(command_line(*arguments), cwd=folder)
    assert ended.code == 0, ended.stderr
    done = folder / "outputs/lora_bert/latest"
    report = json.loads((done / "5_export/parity.json").read_text())
    assert report["within_tolerance"]
    reference, *others = report["formats"].values()
    for other in others:
        assert {**other, "difference": 0.0} == pytest.approx(reference, abs=1e-4)
    return done, reference


def labels_of_test(done: Path) -> list[Any]:
    return list(load_from_disk(str(done / "2_data/test"))["labels"])


def config(done: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((done / "5_export/merged/config.json").read_text())
    return told


@pytest.mark.slow
def test_a_label_a_word_is_learned_exported_and_drawn(tmp_path: Path) -> None:
    done, found = run("token_classification", sentences(120), tmp_path)
    names = list(config(done)["id2label"].values())
    assert names == ["B-LOC", "B-PER", "I-LOC", "O"]
    rows = [np.array([each for each in row if each != NONE]) for row in labels_of_test(done)]
    always = [
        TOKENS.metrics([np.stack([np.full_like(row, label), row]) for row in rows], names)["f1"]
        for label in range(len(names))
    ]
    # Better than always the same label, by more than half of the way to perfect.
    assert found["f1"] > (1 + max(always)) / 2


@pytest.mark.slow
def test_any_number_of_labels_is_learned_exported_and_drawn(tmp_path: Path) -> None:
    done, found = run("multi_label_classification", topics(160), tmp_path)
    assert config(done)["problem_type"] == "multi_label_classification"
    assert tuple(config(done)["id2label"].values()) == TOPICS
    share = np.mean(labels_of_test(done))
    always = 2 * share / (share + 1)  # F1 of every label for every row
    assert found["micro_f1"] > (1 + always) / 2


@pytest.mark.slow
def test_a_number_is_learned_exported_and_drawn(tmp_path: Path) -> None:
    done, found = run("regression", ratings(120), tmp_path)
    assert config(done)["problem_type"] == "regression"
    assert config(done)["id2label"] == {"0": "label"}
    # The error of the best answer that does not read the text, which is the mean.
    assert found["mse"] < np.var(labels_of_test(done)) / 2
    assert found["pearson"] > math.sqrt(0.5)
