"""What people call things elsewhere, and where they are here: for messages about unknown keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache

from pipeline.errors import nearest
from pipeline.shipped import shipped_folder

__all__ = ["pointer"]

_ALIKE = 0.8
"""Of two names in different places, how alike they must be for one to be a typo of the other."""
_EVERY_EPOCH = "it evaluates once an epoch"
_BEST = "it always keeps the weights of the best epoch"
_PROCESSES = "several processes are launch=multi_gpu launch.num_processes=2"
_PRECISION = "that is finetune.mixed_precision"
_FOLDER = "a run has its own folder, hydra.run.dir"
_ACCUMULATION = (
    "finetune.train_batch_size and finetune.per_device_train_batch_size decide it together"
)
_LOCAL = "the pages are served to this machine alone"

_ELSEWHERE: Mapping[str, str] = {
    "accumulate": _ACCUMULATION,
    "alpha": "adapter.lora_alpha",
    "batch_size": "finetune.train_batch_size",
    "best_metric": _BEST,
    "bf16": _PRECISION,
    "bs": "finetune.train_batch_size",
    "checkpoint": "the same command goes on from where it was stopped",
    "deepspeed": f"each process has the whole model; {_PROCESSES}",
    "dropout": "adapter.lora_dropout",
    "epochs": "finetune.num_train_epochs",
    "eval_batch_size": "finetune.per_device_eval_batch_size",
    "eval_steps": _EVERY_EPOCH,
    "eval_strategy": _EVERY_EPOCH,
    "evaluation_strategy": _EVERY_EPOCH,
    "format": "export=onnx writes every format; for data choose data=csv, jsonl or parquet",
    "fp16": _PRECISION,
    "fsdp": f"each process has the whole model; {_PROCESSES}",
    "gpus": "launch.num_processes, with launch=multi_gpu",
    "gradient_accumulation_steps": _ACCUMULATION,
    "greater_is_better": _BEST,
    "grad_clip": "finetune.max_grad_norm",
    "host": _LOCAL,
    "keep_best": _BEST,
    "load_best_model_at_end": _BEST,
    "logger": "finetune.report_to",
    "logging_steps": "every step is written to metrics.jsonl",
    "lr": "finetune.learning_rate",
    "lr_scheduler": "finetune.lr_scheduler_type",
    "max_seq_length": "data.max_length",
    "max_steps": "finetune.num_train_epochs, which may be a part of one",
    "metric": _BEST,
    "metric_for_best_model": _BEST,
    "min_lr": "finetune.lr_scheduler_type",
    "n_epochs": "finetune.num_train_epochs",
    "nproc_per_node": "launch.num_processes, with launch=multi_gpu",
    "num_epochs": "finetune.num_train_epochs",
    "num_workers": "finetune.dataloader_num_workers",
    "optim": "the optimizer is AdamW",
    "optimizer": "the optimizer is AdamW",
    "output_dir": _FOLDER,
    "patience": "finetune.early_stopping_patience",
    "path": _FOLDER,
    "precision": "finetune.mixed_precision",
    "r": "adapter.r",
    "rank": "adapter.r",
    "resume": "the same command goes on from where it was stopped",
    "resume_from_checkpoint": "the same command goes on from where it was stopped",
    "run_name": "name",
    "save_strategy": "finetune.save_steps",
    "save_total_limit": "finetune.save_steps",
    "scheduler": "finetune.lr_scheduler_type",
    "share": _LOCAL,
    "stages": "all six stages run in their order; finetune=none leaves the training out",
    "tf32": _PRECISION,
    "train_file": "data.train, with data=csv, jsonl or parquet",
    "wandb": "finetune.report_to",
    "warmup": "finetune.warmup_steps",
    "warmup_ratio": "finetune.warmup_steps, which below 1 is a share",
    "world_size": "launch.num_processes, with launch=multi_gpu",
}
"""Names in transformers, PEFT and other trainers; the value is a key of ours, or how it is here."""


_AT_THE_LEFT = re.compile(r"^([A-Za-z_]\w*):", re.MULTILINE)
"""Keys of a YAML file of ours at its top: to parse a hundred of them takes half a second."""
_SHOWN = 4
"""Options that are named, of many that have a key."""


def pointer(stage: str | None, key: str, known: Collection[str]) -> str:
    """Return what to do about an unknown key, as messages end: nothing, or `; did you mean 'r'?`.

    Args:
        stage: Group that the key was given in; None at the top.
        key: The unknown one.
        known: Keys that it could have been there.
    """
    ours = _ours()
    having = [option for option in ours if option[0] == stage and key in ours[option]]
    if having:
        options = ["=".join(option) for option in having]
        several = "has" if len(having) == 1 else "have"
        more = f" and {len(having) - _SHOWN} more" if len(having) > _SHOWN else ""
        return f"; {', '.join(options[:_SHOWN])}{more} {several} it"
    if stage is not None and (name := f"{stage}.{key}") in _OF_A_STAGE:
        return _say(_OF_A_STAGE[name])
    if key in _ELSEWHERE and not _same_place(stage, key):
        return _say(_ELSEWHERE[key])
    if near := nearest(key, known):
        return near
    keys = {f"{group}.{each}": each for (group, _), inside in ours.items() for each in inside}
    if exact := [path for path, each in keys.items() if each == key]:
        return f"; did you mean {' or '.join(map(repr, exact))}?"
    bare = key.replace("_", "")
    longer = [path for path, each in keys.items() if bare in each.replace("_", "")]
    if len(bare) > 3 and longer:  # `batchsize`, `epoch`
        return f"; perhaps {min(longer, key=len)!r}"
    for name in get_close_matches(key, [*_ELSEWHERE, *keys.values()], n=1, cutoff=_ALIKE):
        path = next((path for path, each in keys.items() if each == name), None)
        return _say(path or _ELSEWHERE[name])
    return ""


_OF_A_STAGE: Mapping[str, str] = {
    "model.path": "model=local has it",
    "model.attn_implementation": "the model chooses it",
    "model.num_labels": "the labels of the data decide it",
    "model.torch_dtype": _PRECISION,
    "model.trust_remote_code": "code that comes with a model is never run",
    "data.path": "data.train, with data=csv, jsonl or parquet",
    "data.batch_size": "finetune.train_batch_size",
    "data.eval_path": "data.validation",
    "finetune.dropout": "adapter.lora_dropout",
    "visualize.allow_remote": _LOCAL,
}


def _same_place(stage: str | None, key: str) -> bool:
    """Whether the advice would be the key that was given: `adapter.r` of a class without `r`."""
    return _ELSEWHERE[key] == f"{stage}.{key}"


def _say(where: str) -> str:
    if " " in where or ("." not in where and where != "name"):
        return f": {where}"
    return f"; did you mean {where!r}?"


@cache
def _ours() -> dict[tuple[str, str], list[str]]:
    """Return the keys of every shipped option: {("adapter", "lora"): ["r", ...]}."""
    return {
        (file.parent.name, file.stem): _AT_THE_LEFT.findall(file.read_text(encoding="utf-8"))
        for file in sorted(shipped_folder("configs").glob("*/*.yaml"))
    }
