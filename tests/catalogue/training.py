"""Section D: settings of the training, and what goes wrong while it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from catalogue.case import Case, Proved

RECIPE = "+recipe=lora_bert"
TINY = (
    RECIPE,
    "model=random_bert",
    "data=jsonl",
    "data.train=rows.jsonl",
    "finetune.num_train_epochs=1",
    "visualize.open=never",
    "visualize.pictures=never",
)
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
LABELS = ("apple", "pear", "plum")


def rows(count: int = 60) -> Callable[[Path], None]:
    """Return a function that writes `rows.jsonl`; four fifths of its rows train."""

    def prepare(here: Path) -> None:
        told = ({"text": f"number {row} {LABELS[row % 3]}", "label": LABELS[row % 3]}
                for row in range(count))  # fmt: skip
        (here / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in told))

    return prepare


def early(number: int, given: str, *arguments: str, says: str, lines: int = 1) -> Case:
    return Case(
        number=number, given=given, arguments=(RECIPE, *arguments), says=says, lines=lines,
        early=True,
    )  # fmt: skip


def tiny(number: int, given: str, *arguments: str, says: str, code: int = 2) -> Case:
    return Case(
        number=number, given=given, arguments=(*TINY, *arguments), says=says, code=code,
        prepare=rows(), environment=NO_GPU,
    )  # fmt: skip


def without(package: str) -> Callable[[Path], None]:
    """Return a function that makes a package impossible to find and to import."""

    def inside(_: Path) -> None:
        for name in [each for each in sys.modules if each.partition(".")[0] == package]:
            del sys.modules[name]
        sys.modules[package] = None  # type: ignore[assignment]  # as the import system marks it

    return inside


FOREIGN = (
    *(
        early(number, f"a key of transformers: {key}", f"finetune.{key}",
              says=rf"^error: finetune\.{key.partition('=')[0]}: unknown key{says}")
        for number, key, says in (
            (124, "max_steps=0", r": finetune\.num_train_epochs, which may be a part of one"),
            (124, "max_steps=-5", r": finetune\.num_train_epochs, which may be a part of one"),
            (128, "gradient_accumulation_steps=0", r": finetune\.train_batch_size and finetune\.p"),
            (129, "gradient_accumulation_steps=-1", r": finetune\.train_batch_size and finetune"),
            (129, "accumulate=-1", r": finetune\.train_batch_size and finetune"),
            (130, "lerning_rate=1", r"; did you mean 'learning_rate'\?"),
            (130, "lr=1", r"; did you mean 'finetune\.learning_rate'\?"),
            (130, "epochs=1", r"; did you mean 'finetune\.num_train_epochs'\?"),
            (130, "num_epochs=1", r"; did you mean 'finetune\.num_train_epochs'\?"),
            (130, "batch_size=1", r"; did you mean 'finetune\.train_batch_size'\?"),
            (130, "warmup_ratio=0.1", r": finetune\.warmup_steps, which below 1 is a share"),
            (130, "lora_dropout=0.1", r"; did you mean 'adapter\.lora_dropout'\?"),
            (131, "evaluation_strategy=epoch", r": it evaluates once an epoch\."),
            (132, "optim=adamww", r": the optimizer is AdamW\."),
            (132, "optimizer=sgd", r": the optimizer is AdamW\."),
            (133, "scheduler=cosin", r"; did you mean 'finetune\.lr_scheduler_type'\?"),
            (134, "eval_strategy=steps", r": it evaluates once an epoch\."),
            (134, "eval_steps=10", r": it evaluates once an epoch\."),
            (135, "load_best_model_at_end=true", r": it always keeps the weights of the best ep"),
            (135, "keep_best=true", r": it always keeps the weights of the best epoch"),
            (136, "metric_for_best_model=accuraccy", r": it always keeps the weights of the best"),
            (136, "metric=accuraccy", r": it always keeps the weights of the best epoch"),
            (140, "fp16=true", r": that is finetune\.mixed_precision"),
            (141, "bf16=true", r": that is finetune\.mixed_precision"),
            (142, "tf32=true", r": that is finetune\.mixed_precision"),
            (149, "wandb=true", r"; did you mean 'finetune\.report_to'\?"),
            (152, "deepspeed=ds.json", r": each process has the whole model; several processes a"),
            (153, "fsdp=full_shard", r": each process has the whole model; several processes are"),
        )
    ),
)  # fmt: skip

VALUES = (
    *(
        early(118, f"a learning rate as text: {value}", f"finetune.learning_rate={value}",
              says=rf"^error: finetune\.learning_rate: should be a.* number, .*got {got}")
        for value, got in (("1e-3x", "'1e-3x'"), ("'1e-3'", "text '1e-3'"), ("'0.1 '", "text "),
                           ("ten", "'ten'"), ("1e", "'1e'"), ("[1e-3]", r"\[0\.001\]"))
    ),
    early(118, "a seed as text, in the environment", "seed=${oc.env:PATH}",
          says=r"^error: seed: must be a whole number from 0 to 4294967295"),
    *(
        early(133, f"unknown schedule: {typed}", f"finetune.lr_scheduler_type={typed}",
              says=rf"^error: finetune\.lr_scheduler_type must be one of linear, .*got '{typed}'"
                   rf"{near}")
        for typed, near in (
            ("cosin", r"; did you mean 'cosine'\?"), ("LINEAR", ""), ("qqqq", "$"),
            ("constant_with_warmups", r"; did you mean 'constant_with_warmup'\?"),
        )
    ),
    early(137, "warm-up with a schedule that has none", "finetune.lr_scheduler_type=constant",
          says=r"^error: finetune\.warmup_steps must be 0 with the schedule constant"),
    early(138, "half a step of warm-up", "finetune.warmup_steps=1.5",
          says=r"^error: finetune\.warmup_steps must be in \[0, 1\) as a share"),
    early(138, "half a step between checkpoints", "finetune.save_steps=1.5",
          says=r"^error: finetune\.save_steps must be in \(0, 1\) as a share"),
    *(
        early(143, f"impossible limit: {value}", f"finetune.max_grad_norm={value}",
              says=rf"^error: finetune\.max_grad_norm must be finite and at least 0, got {value}")
        for value in ("nan", "-1", "inf", "-0.001")
    ),
    *(
        early(number, f"impossible seed: {value}", f"seed={value}",
              says=r"^error: seed: must be a whole number from 0 to 4294967295, got ")
        for number, value in ((146, "-1"), (146, "4294967296"), (146, "1099511627776"),
                              (146, "1e9"), (147, "abc"), (147, "'7'"), (147, "0x10x"),
                              (147, "1_0_"))
    ),
    *(
        early(150, f"unknown logger: {typed}", f"finetune.report_to={typed}",
              says=rf"^error: finetune\.report_to: should be {says}")
        for typed, says in (
            ("[wandbb]", r"'tensorboard', got 'wandbb'"),
            ("[wandb]", r"'tensorboard', got 'wandb'"),
            ("[tensorbord]", r"'tensorboard', got 'tensorbord'; did you mean 'tensorboard'\?"),
            ("tensorboard", r"a list, such as \[tensorboard\], got 'tensorboard'"),
            ("all", r"a list, such as \[all\], got 'all'"),
            ("none", r"a list, such as \[none\], got 'none'"),
        )
    ),
    early(141, "a precision that is none", "finetune.mixed_precision=fp32",
          says=r"^error: finetune\.mixed_precision: should be 'auto', 'no', 'bf16' or 'fp16', got"),
    early(141, "YAML's no", "finetune.mixed_precision=false",
          says=r"^error: finetune\.mixed_precision: should be 'auto', 'no', 'bf16' or 'fp16', got"),
    early(87, "a device with a number", "finetune.device=cuda:0",
          says=r"^error: finetune\.device: should be .*got 'cuda:0'; did you mean 'cuda'\?"),
    early(155, "a device that is called otherwise", "finetune.device=gpu",
          says=r"^error: finetune\.device: should be 'auto', 'cpu' or 'cuda', got 'gpu'"),
    early(153, "no process at all", "launch=multi_gpu", "launch.num_processes=0",
          says=r"^error: launch\.num_processes must be at least 1, got 0"),
    early(122, "five wrong settings at once", "finetune.num_train_epochs=0",
          "finetune.learning_rate=-1", "finetune.train_batch_size=0", "finetune.timeout=-1",
          "finetune.lr_scheduler_type=cosin",
          says=r"^error: finetune\.learning_rate must be finite and above 0, got -1\.0$", lines=5),
)  # fmt: skip

LOOKED_AT = (
    *(
        tiny(126, f"more rows in a step than there are: {rows}",
             f"finetune.train_batch_size={rows}",
             says=rf"^error: finetune\.train_batch_size: {rows} is more than the 48 training rows; "
                  r"use at most 48")
        for rows in (49, 10**9)
    ),
    *(
        tiny(137, f"warm-up as long as the training, or longer: {steps}",
             f"finetune.warmup_steps={steps}",
             says=rf"^error: finetune\.warmup_steps: {steps} of 3 steps in all, so the learning ")
        for steps in (3, 1000)
    ),
    tiny(140, "fp16 on the CPU", "finetune.mixed_precision=fp16", "finetune.device=cpu", code=3,
         says=r"^error: finetune\.mixed_precision: fp16 needs a GPU; use bf16, no or auto"),
    tiny(140, "fp16 where there is no GPU", "finetune.mixed_precision=fp16", code=3,
         says=r"^error: finetune\.mixed_precision: fp16 needs a GPU; use bf16, no or auto"),
    tiny(141, "bf16 on a GPU that is not there", "finetune.mixed_precision=bf16",
         "finetune.device=cuda", code=3,
         says=r"^error: finetune\.device: no CUDA GPU on this machine; use auto or cpu"),
    tiny(155, "a GPU where there is none", "finetune.device=cuda", code=3,
         says=r"^error: finetune\.device: no CUDA GPU on this machine; use auto or cpu"),
    tiny(155, "four GPUs where there is none", "finetune.device=cuda", "launch=multi_gpu",
         "launch.num_processes=4", code=3,
         says=r"^error: finetune\.device: no CUDA GPU on this machine; use auto or cpu"),
    tiny(153, "rows that processes cannot share", "launch=multi_gpu", "launch.num_processes=3",
         says=r"^error: finetune\.train_batch_size: 16 rows do not divide by 3 processes; use a m"),
    Case(number=149, given="a logger that is not installed", code=3,
         arguments=(*TINY, "finetune.report_to=[tensorboard]"), prepare=rows(),
         inside=without("tensorboard"),
         says=r"^error: finetune\.report_to: tensorboard is not installed; run: pip install"),
)  # fmt: skip

FAILING = (
    tiny(156, "a loss that is not a number", "finetune.learning_rate=1e30",
         "finetune.lr_scheduler_type=constant", "finetune.warmup_steps=0", code=4,
         says=r"^error: finetune: the training loss is \w+ at step \d+, rows .*; lower finetune\."),
    tiny(157, "a loss that explodes", "finetune.learning_rate=100", "finetune.num_train_epochs=5",
         code=4,
         says=r"^error: finetune: the training loss, \S+, is \d+ x that of the first step .*lower"),
)  # fmt: skip

ELSEWHERE = (
    Proved(
        number=154,
        by="tests/test_launch.py::test_accelerate_that_starts_one_process_of_two_is_refused",
    ),
    Proved(number=155, by="tests/test_launch.py::test_fewer_gpus_than_asked_for_are_refused"),
    Proved(
        number=158,
        by="tests/test_memory.py::test_one_row_that_does_not_fit_is_an_error_with_numbers",
    ),
    Proved(
        number=159,
        by="tests/test_launch.py::"
        "test_a_rank_killed_in_real_training_is_the_cause_not_the_one_that_lost_it",
    ),
    Proved(
        number=160,
        by="tests/test_finetune.py::test_a_process_that_hangs_is_noticed_after_the_timeout",
    ),
    Proved(
        number=161,
        by="tests/test_stopping.py::"
        "test_signals_at_random_moments_lose_nothing_and_a_second_one_leaves_at_once",
    ),
    Proved(
        number=162,
        by="tests/test_stopping.py::"
        "test_signals_at_random_moments_lose_nothing_and_a_second_one_leaves_at_once",
    ),
)
