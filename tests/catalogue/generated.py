"""The kin of the entries: wrong values and names for every key of every group, made from them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from re import escape
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from catalogue.case import Case
from pipeline.shipped import shipped_folder

__all__ = ["NUMBERS", "Key", "cases", "shipped_keys"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """Which numbers a key takes; `nan` and the infinities are never among them."""

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def has(self, value: float) -> bool:
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        return math.isfinite(value) and above and below


ABOVE_0, FROM_0, FROM_1 = Between(low=0, without_low=True), Between(low=0), Between(low=1)
SHARE = Between(low=0, high=1, without_low=True, without_high=True)
DROPOUT = Between(low=0, high=1, without_high=True)
SEED = Between(low=0, high=2**32 - 1)

NUMBERS: Mapping[str, Between] = {
    "adapter.r": FROM_1,
    "adapter.lora_alpha": ABOVE_0,
    "adapter.lora_dropout": DROPOUT,
    "adapter.bottleneck_size": FROM_1,
    "adapter.init_std": ABOVE_0,
    "adapter.reduction_factor": FROM_1,
    "adapter.seed": SEED,
    "data.max_length": Between(low=2),
    "data.num_labels": FROM_1,
    "data.seed": SEED,
    "data.test_size": SHARE,
    "data.validation_size": SHARE,
    "export.opset": Between(low=18, high=25),
    "export.tolerance": SHARE,
    "finetune.dataloader_num_workers": FROM_0,
    "finetune.early_stopping_patience": FROM_1,
    "finetune.learning_rate": ABOVE_0,
    "finetune.loraplus_lr_ratio": FROM_1,
    "finetune.max_grad_norm": FROM_0,
    "finetune.num_train_epochs": ABOVE_0,
    "finetune.per_device_eval_batch_size": FROM_1,
    "finetune.per_device_train_batch_size": FROM_1,
    "finetune.save_steps": ABOVE_0,
    "finetune.seed": SEED,
    "finetune.timeout": ABOVE_0,
    "finetune.train_batch_size": FROM_1,
    "finetune.warmup_steps": FROM_0,
    "finetune.weight_decay": FROM_0,
    "launch.main_process_port": Between(low=1, high=65535),
    "launch.num_processes": FROM_1,
    "model.dropout": DROPOUT,
    "model.image_size": Between(low=1, high=4096),
    "model.num_channels": Between(low=1, high=3),
    "model.seed": SEED,
    "visualize.port": Between(low=0, high=65535),
}
"""Every key that is a number."""

_ENTRIES = {
    "adapter.lora_alpha": 102,
    "adapter.lora_dropout": 101,
    "adapter.r": 96,
    "export.opset": 174,
    "finetune.learning_rate": 119,
    "finetune.max_grad_norm": 143,
    "finetune.num_train_epochs": 122,
    "finetune.per_device_train_batch_size": 125,
    "finetune.seed": 146,
    "finetune.train_batch_size": 125,
    "finetune.warmup_steps": 138,
    "visualize.port": 187,
}
"""Entries of the catalogue that wrong numbers of a key are kin of; others are of entry 10."""

_FIRST = ("local", "lora", "random_bert", "support")
"""Options by which a key is tried, where several have it."""
_MUST_BE_GIVEN = {
    ("adapter", "existing"): ("adapter.path=nowhere",),
    ("data", "image_folder"): ("data.path=nowhere",),
    ("model", "module"): ("model.class_path=pipeline.own.cnn.Cnn",),
    ("model", "pt2"): ("model.path=nowhere.pt2",),
    ("model", "local"): ("model.path=nowhere",),
    ("data", "csv"): ("data.train=nowhere.csv",),
    ("data", "jsonl"): ("data.train=nowhere.jsonl",),
    ("data", "parquet"): ("data.train=nowhere.parquet",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key of a group, and an option that has it."""

    group: str
    option: str
    name: str
    type: Any

    @property
    def path(self) -> str:
        return f"{self.group}.{self.name}"

    @property
    def choice(self) -> tuple[str, ...]:
        """What to type so that the key is there."""
        images = (self.group, self.option) in (("model", "module"), ("model", "pt2"))
        recipe = "lora_cnn" if images else "lora_bert"
        return (f"+recipe={recipe}", f"{self.group}={self.option}")

    @property
    def needs(self) -> tuple[str, ...]:
        """What must be given with that choice."""
        return _MUST_BE_GIVEN.get((self.group, self.option), ())

    @property
    def is_number(self) -> bool:
        return bool({int, float} & set(_kinds(self.type)))


@cache
def shipped_keys() -> tuple[Key, ...]:
    """Return every key of every group once.

    Not those of the kinds of adapters that are generated from PEFT: tests/test_adapter_kinds.py
    tries their values without a command line, for there are some hundreds.
    """
    found: dict[tuple[str, str], Key] = {}
    files = shipped_folder("configs").glob("*/*.yaml")
    for file in sorted(files, key=lambda each: (each.stem in _FIRST, each), reverse=True):
        told = OmegaConf.load(file)
        if "_target_" not in told:
            continue
        module, _, name = told._target_.rpartition(".")
        if module == "pipeline.adapter.kinds" or (name == "Lora" and file.stem != "lora"):
            continue
        cls = getattr(importlib.import_module(module), name)
        for field, kind in ((each.name, get_type_hints(cls)[each.name]) for each in fields(cls)):
            key = Key(group=file.parent.name, option=file.stem, name=field, type=kind)
            found.setdefault((key.group, key.name), key)
    return tuple(found[each] for each in sorted(found))


def cases() -> tuple[Case, ...]:
    """Return a case for each wrong value and name."""
    return tuple(case for make in (_numbers, _choices, _others, _keys, _options) for case in make())


def _kinds(kind: Any) -> tuple[Any, ...]:
    """Return what a key may be: the members of a union, without None."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(each for each in members if each is not type(None))


def _case(key: Key, given: str, value: str, says: str, number: int) -> Case:
    return Case(
        number=number,
        given=f"{given}: {key.path}={value}",
        arguments=(
            *key.choice,
            *(each for each in key.needs if not each.startswith(f"{key.path}=")),
            f"{key.path}={value}",
        ),
        says=says,
        early=True,
    )


def _numbers() -> Iterator[Case]:
    for key in shipped_keys():
        if not key.is_number:
            continue
        number, path = _ENTRIES.get(key.path, 10), escape(key.path)
        yield _case(key, "no number", "abc", rf"^error: {path}: should be .*got 'abc'", 10)
        yield _case(key, "nothing", "", rf"^error: {path}: empty value", 11)
        text = "'1'" if key.name == "num_channels" else "'3'"
        yield _case(key, "a number as text", text, rf"^error: {path}: .*got text {text}", 118)
        yield _case(key, "true", "true", rf"^error: {path}: .*got True", 10)
        yield _case(key, "a list", "[1]", rf"^error: {path}: .*got \[1\]", 10)
        for value in _outside(NUMBERS[key.path], whole=int in _kinds(key.type)):
            says = rf"^error: {path}\b.* got {escape(_as_python(value))}\b"
            yield _case(key, "not in its range", value, says, number)


def _outside(range_: Between, *, whole: bool) -> list[str]:
    """Return numbers at and beyond the ends of the range that it does not have."""
    probes = [range_.low - 1, range_.low, range_.high, range_.high + 1, math.nan, math.inf]
    found = [_typed(each, whole=whole) for each in probes if not range_.has(each)]
    return list(dict.fromkeys([*found, "-inf", *(["2.5"] if whole else [])]))


def _typed(value: float, *, whole: bool) -> str:
    return str(int(value)) if math.isfinite(value) and whole else f"{value:g}"


def _as_python(text: str) -> str:
    return repr(float(text)) if text in ("nan", "inf", "-inf") else text


def _choices() -> Iterator[Case]:
    for key in shipped_keys():
        for kind in _kinds(key.type):
            if get_origin(kind) is not Literal:
                continue
            for name in get_args(kind):
                if len(name) > 3:  # of `no`, nothing is near
                    says = rf"^error: {escape(key.path)}\b.*got '{_typo(name)}'"
                    near = rf"; did you mean '{name}'\?" if kind is key.type else ""
                    yield _case(key, "a near name", _typo(name), says + near, 10)


def _others() -> Iterator[Case]:
    """Yield what is no text, no switch, no list and no table."""
    for key in shipped_keys():
        kinds, path = _kinds(key.type), escape(key.path)
        plain = all(each is not Any and get_origin(each) is None for each in kinds)
        if key.is_number:
            continue
        if kinds == (bool,):
            yield _case(key, "no switch", "maybe", rf"^error: {path}: .*got 'maybe'", 10)
        yield _case(key, "nothing", "", rf"^error: {path}: empty value", 11)
        if plain:
            yield _case(key, "a table", "{a: 1}", rf"^error: {path}: .*got \{{'a': 1\}}", 10)
        else:
            yield _case(key, "a date", "5.5", rf"^error: {path}\b.*5\.5", 10)


def _keys() -> Iterator[Case]:
    for key in shipped_keys():
        typed = f"{key.group}.{_typo(key.name)}"
        yield Case(
            number=130 if key.group == "finetune" else 9,
            given=f"a key with a letter missing: {typed}",
            arguments=(*key.choice, *key.needs, f"{typed}=1"),
            says=rf"^error: {escape(typed)}: unknown key; did you mean '{key.name}'\?",
            early=True,
        )
    for group in dict.fromkeys(key.group for key in shipped_keys()):
        every = [key for key in shipped_keys() if key.group == group]
        option = every[0].option
        mine = [key for key in every if key.option == option]
        yield Case(
            number=9,
            given=f"all keys of {group}={option} with a letter missing, at once",
            arguments=(
                *mine[0].choice,
                *mine[0].needs,
                *(f"{group}.{_typo(key.name)}=1" for key in mine),
            ),
            says=rf"^error: {group}\.{_typo(mine[-1].name)}: unknown key; did you mean",
            lines=len(mine),
            early=True,
        )


def _options() -> Iterator[Case]:
    files = sorted(shipped_folder("configs").glob("*/*.yaml"))
    typos = {(file.parent.name, _typo(file.stem)) for file in files}
    for group, typo in sorted(typos):
        if group == "adapter" and typo[0] not in "ilnp":
            continue  # of some fifty names that are read in the same way, a few
        yield Case(
            number=183 if group == "export" else 27,
            given=f"an option with a letter missing: {group}={typo}",
            arguments=("+recipe=lora_bert", f"{group}={typo}"),
            says=rf"^error: {group}: no {group} '{typo}'; did you mean '.*'\? Options: ",
            early=True,
        )
    for group in dict.fromkeys(file.parent.name for file in files):
        yield Case(
            number=27,
            given=f"an option that is like none: {group}=qqqqqq",
            arguments=("+recipe=lora_bert", f"{group}=qqqqqq"),
            says=rf"^error: {group}: no {group} 'qqqqqq'\. Options: ",
            early=True,
        )


def _typo(name: str) -> str:
    """Return the name without one of its inner letters; a short one with a letter twice."""
    return name[:-2] + name[-1] if len(name) > 2 else name + name[-1]


CASES = cases()
