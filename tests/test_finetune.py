"""Training: the numbers are right, the best weights stay, and mistakes stop it."""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from datasets import Dataset
from omegaconf import OmegaConf
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from pipeline.artifacts import AdaptedModel, BaseModel, Examples, HashedFile, TrainedModel
from pipeline.build import build_stage
from pipeline.errors import CheckError, ConfigError, MachineError, StageError
from pipeline.finetune import Trainer
from pipeline.finetune.machine import find_precision
from pipeline.finetune.sampler import Batches, epoch_steps, evaluation_batches
from pipeline.shipped import shipped_folder
from pipeline.tasks import task_named

LABELS = ("calm", "angry", "glad")
PAD, UNKNOWN = "[PAD]", "[UNK]"
WORDS = (PAD, UNKNOWN, *(f"word{number}" for number in range(18)))
SOURCE = "tiny/bert@0"


def make_base(folder: Path, *, dropout: float = 0.0) -> BaseModel:
    """Save a tiny BERT, and a tokenizer of words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=len(LABELS),
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=PAD, unk_token=UNKNOWN
    ).save_pretrained(folder)
    weights = HashedFile(path=folder / "model.safetensors", sha256="", size=0)
    return BaseModel(
        folder=folder,
        weights=(weights,),
        name=SOURCE,
        repo_id=SOURCE,
        revision=None,
        source=SOURCE,
        task="sequence_classification",
        auto_class="AutoModelForSequenceClassification",
    )


def make_adapted(folder: Path, base: BaseModel, **changes: Any) -> AdaptedModel:
    """Insert LoRA into the queries and values, and save it as it starts."""
    torch.manual_seed(1)
    settings = {"r": 2, "target_modules": ["query", "value"], "task_type": "SEQ_CLS"} | changes
    model = get_peft_model(base.load(LABELS), LoraConfig(**settings))
    model.save_pretrained(folder, save_embedding_layers=False)
    trainable, total = model.get_nb_trainable_parameters()
    return AdaptedModel(base=base, labels=LABELS, folder=folder, trainable=trainable, total=total)


def make_examples(folder: Path, *, train: int = 22, validation: int = 13) -> Examples:
    """Save texts whose label is the remainder of the first word: easy to learn."""
    random = np.random.default_rng(0)
    lengths: list[int] = []
    for split, rows in (("train", train), ("validation", validation), ("test", 2)):
        texts = [random.integers(2, len(WORDS), random.integers(2, 12)) for _ in range(rows)]
        lengths = lengths or [len(text) for text in texts]
        Dataset.from_dict(
            {
                "input_ids": [text.tolist() for text in texts],
                "attention_mask": [[1] * len(text) for text in texts],
                "labels": [int(text[0]) % len(LABELS) for text in texts],
                "length": [len(text) for text in texts],
            }
        ).save_to_disk(str(folder / split))
    return Examples(
        folder=folder,
        task="sequence_classification",
        sources=(),
        revision=None,
        labels=LABELS,
        train_rows=train,
        validation_rows=validation,
        test_rows=2,
        longest=11,
        mean_length=float(np.mean(lengths)),
    )


def trainer(**changes: Any) -> Trainer:
    """Return the stage for a short training on the CPU in float32."""
    values: dict[str, Any] = {
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "loraplus_lr_ratio": None,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.1,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "train_batch_size": 8,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 4,
        "mixed_precision": "no",
        "save_steps": 50,
        "early_stopping_patience": None,
        "group_by_length": True,
        "device": "cpu",
        "report_to": (),
        "timeout": 60,
        "dataloader_num_workers": 0,
        "seed": 3,
    }
    return Trainer(**(values | changes))


Given = tuple[AdaptedModel, Examples]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    adapted = make_adapted(folder / "adapter", make_base(folder / "base"))
    return adapted, make_examples(folder / "examples")


def train(stage: Trainer, given: Given, folder: Path) -> TrainedModel:
    folder.mkdir(exist_ok=True)
    return stage.run(given, folder)


def weights(trained: TrainedModel) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(trained.folder / "adapter_model.safetensors")
    return found


def largest_difference(one: TrainedModel, other: TrainedModel) -> float:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def metrics(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def logits(
    model: torch.nn.Module, adapted: AdaptedModel, rows: list[dict[str, Any]]
) -> torch.Tensor:
    task = task_named("sequence_classification")
    batch = task.collate(adapted.base)(rows)
    batch.pop("labels")
    with torch.no_grad():
        found: torch.Tensor = model(**batch).logits
    return found


# -- an optimizer step is one mean over its rows, however it is cut ---------------------------


def test_the_loss_of_a_step_is_the_mean_over_its_rows(given: Given, tmp_path: Path) -> None:
    adapted, examples = given
    train(trainer(num_train_epochs=1, per_device_train_batch_size=3), given, tmp_path)
    table = examples.load("train")
    first = epoch_steps(np.asarray(table["length"]), 8, seed=3, epoch=0, by_length=True)[0]
    rows = [table[int(row)] for row in first]
    expected = functional.cross_entropy(
        logits(adapted.load(), adapted, rows), torch.tensor([row["labels"] for row in rows])
    )
    assert metrics(tmp_path)[0]["loss"] == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("rows", [16, 22, 17])
def test_four_micro_batches_equal_one_batch(given: Given, tmp_path: Path, rows: int) -> None:
    both = given[0], make_examples(tmp_path / "examples", train=rows)
    whole = train(trainer(), both, tmp_path / "whole")
    parts = train(trainer(per_device_train_batch_size=2), both, tmp_path / "parts")
    assert largest_difference(whole, parts) < 1e-6
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        for name in one.keys() - {"seconds"}:
            assert one[name] == pytest.approx(other[name], abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "per_device"),
    [(22, 8), (22, 2), (17, 1)],  # the last of 17 rows is alone in its step: rank 1 has none
)
def test_two_processes_equal_one(given: Given, tmp_path: Path, rows: int, per_device: int) -> None:
    both = given[0], make_examples(tmp_path / "examples", train=rows)
    stage = trainer(per_device_train_batch_size=per_device)
    alone = train(stage, both, tmp_path / "alone")
    two = in_two_processes(stage, both, tmp_path / "two")
    assert two[0] == two[1], "every process returns the same artifact"
    assert isinstance(two[0], TrainedModel)
    assert largest_difference(alone, two[0]) < 1e-6
    for one, other in zip(metrics(tmp_path / "alone"), metrics(tmp_path / "two"), strict=True):
        for name in one.keys() - {"seconds"}:
            assert one[name] == pytest.approx(other[name], abs=1e-5), name


@pytest.mark.slow
def test_a_batch_that_does_not_divide_by_the_processes_is_refused(
    given: Given, tmp_path: Path
) -> None:
    for told in in_two_processes(trainer(train_batch_size=7), given, tmp_path):
        assert told == (
            "StageError: finetune.train_batch_size: 7 rows do not divide by 2 processes; "
            "use a multiple of 2"
        )


@pytest.mark.slow
def test_a_process_that_hangs_is_noticed_after_the_timeout(given: Given, tmp_path: Path) -> None:
    start = time.monotonic()
    told = in_two_processes(trainer(timeout=2), given, tmp_path, late=20)[0]
    assert time.monotonic() - start < 15
    assert isinstance(told, str)
    assert told.startswith("LostProcessError: finetune: another process ended, or gave no word")


def in_two_processes(
    stage: Trainer, given: Given, folder: Path, late: float = 0
) -> list[TrainedModel | str]:
    """Run a stage in two processes that meet over gloo; rank 1 starts `late` seconds later."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    told: Any = context.Queue()
    both = [
        context.Process(target=_one_of_two, args=(rank, port, stage, given, folder, late, told))
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    answers: dict[int, TrainedModel | str] = {}
    while len(answers) < (1 if late else 2):
        rank, answer = told.get(timeout=60)
        answers[rank] = answer
    for process in both:
        process.kill() if late else process.join()
    return [answers[rank] for rank in sorted(answers)]


def _one_of_two(
    rank: int, port: int, stage: Trainer, given: Given, folder: Path, late: float, told: Any
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if rank:
        time.sleep(late)
    try:
        told.put((rank, stage.run(given, folder)))
    except Exception as error:  # noqa: BLE001 - the test reads it
        told.put((rank, f"{type(error).__name__}: {error}"))


def test_lora_plus_moves_b_as_many_times_faster_as_it_is_told(given: Given, tmp_path: Path) -> None:
    """The first step of Adam is the learning rate, whatever the gradient; A has none yet."""
    once: dict[str, Any] = {
        "num_train_epochs": 1,
        "train_batch_size": given[1].train_rows,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
    }
    plain = weights(train(trainer(**once), given, tmp_path / "plain"))
    plus = weights(train(trainer(**once, loraplus_lr_ratio=4.0), given, tmp_path / "plus"))
    start = load_file(given[0].folder / "adapter_model.safetensors")
    moved = {name: plain[name] - start[name] for name in plain}
    for name, value in moved.items():
        times = 4.0 if "lora_B" in name or value.ndim == 1 else 1.0  # as PEFT groups them
        torch.testing.assert_close(plus[name] - start[name], times * value, atol=1e-5, rtol=1e-3)
    assert all(value.any() for name, value in moved.items() if "lora_B" in name)


# -- what is kept -----------------------------------------------------------------------------


def test_the_kept_weights_score_the_best_metric_head_included(given: Given, tmp_path: Path) -> None:
    adapted, examples = given
    stage = trainer(num_train_epochs=6, learning_rate=0.3, lr_scheduler_type="cosine")
    trained = train(stage, given, tmp_path)
    scores = {int(m["step"]): m["eval_macro_f1"] for m in metrics(tmp_path) if "eval_loss" in m}
    assert trained.best_metric == max(scores.values())
    assert trained.best_metric == scores[trained.best_step]
    assert trained.best_step < trained.steps, "a test of keeping needs a best step before the last"
    table = examples.load("validation")
    task = task_named(examples.task)
    found = logits(trained.load(), adapted, list(table))
    again = task.metrics(task.judged(found, torch.tensor(table["labels"])))
    assert trained.metric is not None
    assert again[trained.metric] == trained.best_metric
    head = [name for name in weights(trained) if "classifier.weight" in name]
    before = load_file(adapted.folder / "adapter_model.safetensors")
    assert len(head) == 1
    assert not torch.equal(weights(trained)[head[0]], before[head[0]])


def test_the_folder_holds_the_adapter_and_what_happened_and_no_path_or_pickle(
    given: Given, tmp_path: Path
) -> None:
    train(trainer(save_steps=1), given, tmp_path)
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")} == {
        "metrics.jsonl",
        "gradient_norms.jsonl",
        "adapter",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }
    told = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert json.loads(told)["base_model_name_or_path"] == SOURCE
    assert str(tmp_path.parent) not in told


def test_frozen_weights_stay_and_all_others_move(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted, _ = given
    load = AdaptedModel.load
    seen: list[Any] = []

    def load_and_show(self: AdaptedModel, *, trainable: bool = False) -> Any:
        seen.append(load(self, trainable=trainable))
        return seen[-1]

    monkeypatch.setattr(AdaptedModel, "load", load_and_show)
    train(trainer(), given, tmp_path)
    before = dict(load(adapted, trainable=True).named_parameters())
    for name, value in seen[0].named_parameters():
        if "original_module" not in name:  # PEFT's copy of the head: random, and never used
            assert torch.equal(value, before[name]) is not value.requires_grad, name


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    given: Given, tmp_path: Path
) -> None:
    adapted = make_adapted(tmp_path / "dropout", given[0].base, lora_dropout=0.2)
    one, two, other = (
        train(trainer(seed=seed), (adapted, given[1]), tmp_path / name)
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    files = [trained.folder / "adapter_model.safetensors" for trained in (one, two, other)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()


# -- when it stops ----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_at_once(given: Given, tmp_path: Path) -> None:
    adapted, examples = given
    shutil.copytree(adapted.folder, tmp_path / "broken")
    file = tmp_path / "broken" / "adapter_model.safetensors"
    values = load_file(file)
    next(value for name, value in values.items() if "lora_A" in name)[0, 0] = math.nan
    save_file(values, file, metadata={"format": "pt"})
    broken = AdaptedModel(
        base=adapted.base, labels=LABELS, folder=tmp_path / "broken", trainable=1, total=1
    )
    with pytest.raises(CheckError, match=r"^finetune: the training loss is nan at step 1, rows .*"):
        train(trainer(), (broken, examples), tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
    assert not (tmp_path / "out" / "adapter").exists()


def test_a_learning_rate_that_explodes_is_named(given: Given, tmp_path: Path) -> None:
    stage = trainer(learning_rate=1e30, lr_scheduler_type="constant", warmup_steps=0)
    with pytest.raises(CheckError, match=r"at step \d, rows .*; lower finetune\.learning_rate"):
        train(stage, given, tmp_path)


def test_patience_counts_epochs_without_a_better_metric(given: Given, tmp_path: Path) -> None:
    stage = trainer(num_train_epochs=9, learning_rate=1e-12, early_stopping_patience=2)
    trained = train(stage, given, tmp_path)
    steps_of_an_epoch = math.ceil(22 / 8)
    assert trained.best_step == steps_of_an_epoch
    assert trained.steps == (1 + 2) * steps_of_an_epoch


def test_a_head_that_does_not_train_is_refused(given: Given, tmp_path: Path) -> None:
    adapted = make_adapted(tmp_path / "headless", given[0].base, task_type=None)
    with pytest.raises(StageError, match=r"the head \(classifier\.weight\) would stay frozen"):
        train(trainer(), (adapted, given[1]), tmp_path / "out")


@pytest.mark.parametrize("split", ["training", "validation"])
def test_an_empty_split_is_refused(given: Given, tmp_path: Path, split: str) -> None:
    empty = {"train": 0} if split == "training" else {"validation": 0}
    examples = Examples(
        folder=tmp_path,
        task="sequence_classification",
        sources=(),
        revision=None,
        labels=LABELS,
        train_rows=empty.get("train", 5),
        validation_rows=empty.get("validation", 5),
        test_rows=0,
        longest=1,
        mean_length=1,
    )
    with pytest.raises(StageError, match=f"data: no {split} rows"):
        train(trainer(), (given[0], examples), tmp_path)


# -- what it says -----------------------------------------------------------------------------


def test_every_step_and_evaluation_is_a_line_of_json(given: Given, tmp_path: Path) -> None:
    trained = train(trainer(), given, tmp_path)
    lines = metrics(tmp_path)
    steps = [line for line in lines if "loss" in line]
    scores = [line for line in lines if "eval_loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert [(line["step"], line["epoch"]) for line in scores] == [(3, 1.0), (6, 2.0)]
    assert steps[0].keys() == {"step", "epoch", "loss", "learning_rate", "grad_norm", "seconds"}
    assert scores[0].keys() >= {"step", "epoch", "eval_loss", "eval_accuracy", "eval_macro_f1"}
    rows = (8, 8, 6)
    last = sum(line["loss"] * n for line, n in zip(steps[3:], rows, strict=True)) / sum(rows)
    assert trained.train_loss == pytest.approx(last)


def test_without_a_terminal_it_says_one_line_an_epoch_and_nothing_else(
    given: Given,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    train(trainer(num_train_epochs=3), given, tmp_path)
    assert capfd.readouterr() == ("", "")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("pipeline")]
    assert [line.split(":")[0].strip() for line in ours] == [f"epoch {n} of 3" for n in (1, 2, 3)]


def test_tensorboard_gets_the_figures_when_asked(given: Given, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(trainer(report_to=("tensorboard",)), given, tmp_path)
    assert [file.name.split(".")[0] for file in (tmp_path / "tensorboard").iterdir()] == ["events"]


def test_tensorboard_that_is_not_installed_is_refused_with_the_command(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.finetune.training.find_spec", lambda _: None)
    with pytest.raises(MachineError, match=r"run: pip install 'graft-pipeline\[tensorboard\]'"):
        train(trainer(report_to=("tensorboard",)), given, tmp_path)


# -- the machine ------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without a GPU")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda"}, "finetune.device: no CUDA GPU on this machine; use auto or cpu"),
        ({"mixed_precision": "fp16"}, "finetune.mixed_precision: fp16 needs a GPU"),
    ],
)
def test_what_the_machine_lacks_is_refused(
    given: Given, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(MachineError, match=message):
        train(trainer(**changes), given, tmp_path)


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "no")])
def test_auto_precision_on_a_cpu_is_bf16_only_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr("pipeline.finetune.machine._cpu_has_bf16", lambda: native)
    assert find_precision("auto", "cpu") == expected


def test_bf16_trains_on_the_cpu_and_keeps_float32_weights(given: Given, tmp_path: Path) -> None:
    trained = train(trainer(mixed_precision="bf16"), given, tmp_path)
    assert {value.dtype for value in weights(trained).values()} == {torch.float32}
    assert trained.train_loss is not None
    assert math.isfinite(trained.train_loss)


def test_importing_the_stage_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'accelerate', 'datasets'}"
    code = f"import sys, pipeline.finetune; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


# -- the order of rows ------------------------------------------------------------------------


@pytest.fixture
def lengths() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 100, 103)


@pytest.mark.parametrize("by_length", [True, False])
def test_an_epoch_has_each_row_once_and_only_the_last_step_is_smaller(
    lengths: np.ndarray, by_length: bool
) -> None:
    steps = epoch_steps(lengths, 8, seed=0, epoch=0, by_length=by_length)
    assert sorted(np.concatenate(steps)) == list(range(103))
    assert [len(step) for step in steps] == [8] * 12 + [7]


@pytest.mark.parametrize("by_length", [True, False])
def test_the_order_is_a_function_of_seed_and_epoch(lengths: np.ndarray, by_length: bool) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        steps = epoch_steps(lengths, 8, seed=seed, epoch=epoch, by_length=by_length)
        return [int(row) for step in steps for row in step]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(*which)) for which in [(1, 2), (2, 1), (1, 3), (2, 2)]}) == 4


def test_batches_by_length_pad_less(lengths: np.ndarray) -> None:
    def padded(by_length: bool) -> int:
        steps = epoch_steps(lengths, 8, seed=0, epoch=0, by_length=by_length)
        return sum(int(lengths[step].max()) * len(step) for step in steps)

    assert lengths.sum() <= padded(True) < 1.15 * lengths.sum() < padded(False)


@pytest.mark.parametrize("rows", [16, 17, 19, 22])
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("per_device", [1, 3, 8])
def test_processes_and_micro_batches_share_a_step_without_changing_it(
    rows: int, processes: int, per_device: int
) -> None:
    lengths = np.random.default_rng(1).integers(1, 50, rows)
    every = [
        Batches(
            lengths.tolist(),
            batch_size=8,
            per_device=per_device,
            process=process,
            processes=processes,
            seed=5,
            by_length=True,
        )
        for process in range(processes)
    ]
    for batches in every:
        batches.set_epoch(2)
    shares = [list(batches) for batches in every]
    assert [len(mine) for mine in shares] == [len(every[0])] * processes  # all meet at every step
    assert max(len(part) for mine in shares for part in mine) <= per_device
    per_step = every[0].micro_batches
    for number, step in enumerate(epoch_steps(lengths, 8, seed=5, epoch=2, by_length=True)):
        parts = [mine[number * per_step : (number + 1) * per_step] for mine in shares]
        assert sorted(row for mine in parts for part in mine for row in part) == sorted(step)
        assert every[0].rows(number) == every[0].rows(number + every[0].steps) == len(step)


def test_evaluation_sees_each_row_once_and_the_longest_first(lengths: np.ndarray) -> None:
    batches = evaluation_batches(lengths, 10)
    assert sorted(row for batch in batches for row in batch) == list(range(103))
    assert [len(batch) for batch in batches] == [10] * 10 + [3]
    assert lengths[batches[0][0]] == lengths.max()


# -- the settings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_train_epochs": 0}, "num_train_epochs must be finite and above 0, got 0"),
        ({"learning_rate": math.nan}, "learning_rate must be finite and above 0, got nan"),
        ({"loraplus_lr_ratio": 0.5}, "loraplus_lr_ratio must be at least 1 and finite, or null"),
        ({"lr_scheduler_type": "cosin"}, "cosin"),
        ({"lr_scheduler_type": "liner"}, "did you mean 'linear'?"),
        ({"warmup_steps": 1.5}, "or a whole number of steps, got 1.5"),
        ({"lr_scheduler_type": "constant"}, "warmup_steps must be 0 with the schedule constant"),
        ({"weight_decay": -1}, "weight_decay must be finite and at least 0, got -1"),
        ({"max_grad_norm": math.inf}, "max_grad_norm must be finite and at least 0, got inf"),
        ({"train_batch_size": 0}, "train_batch_size must be at least 1, got 0"),
        ({"save_steps": 0}, "save_steps must be in (0, 1) as a share of all steps, or a whole"),
        ({"save_steps": 1.5}, "save_steps must be in (0, 1) as a share of all steps, or a whole"),
        ({"early_stopping_patience": 0}, "early_stopping_patience must be at least 1, got 0"),
        ({"timeout": 0}, "timeout must be finite and above 0, got 0"),
        ({"dataloader_num_workers": -1}, "dataloader_num_workers must be finite and at least 0"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, got -1"),
    ],
)
def test_an_impossible_setting_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"must be") as caught:
        trainer(**changes)
    assert message in str(caught.value)


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^learning_rate [^\n]*\nseed must be [^\n]*$"):
        trainer(learning_rate=-1, seed=-1)


def test_the_shipped_settings_build_and_have_every_field() -> None:
    file = shipped_folder("configs") / "finetune" / "trainer.yaml"
    composed = OmegaConf.merge({"seed": 0}, OmegaConf.load(file), {"seed": 0})
    told = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    built = build_stage("finetune", told)
    assert isinstance(built, Trainer)
    assert built.train_batch_size == 32
    with pytest.raises(ConfigError, match=r"finetune\.report_to"):
        build_stage("finetune", told | {"report_to": ["tensorbord"]})
