"""Random command lines and recipes: mostly sensible, with something wrong somewhere."""

from __future__ import annotations

import random
from functools import cache

from pipeline.shipped import shipped_folder

__all__ = ["damaged", "overrides", "recipe"]

_KEYS = (
    "adapter.r",
    "adapter.lora_alpha",
    "adapter.target_modules",
    "adapter.rank_pattern",
    "seed",
    "name",
    "reuse",
    "model",
    "data",
    "adapter",
    "finetune",
    "launch",
    "model.weights",
    "recipe",
    "data.train",
    "finetune.learning_rate",
    "finetune.num_train_epochs",
    "export.opset",
    "foo",
    "adapter.x.y.z",
    "adapter._target_",
    "hydra.run.dir",
    "hydra.verbose",
    "hydra.job.name",
    "hydra/launcher",
    "hydra.launcher.x",
    "model@x",
    "a/b",
    "",
    "_target_",
    "allow_code",
    "a b",
    "é",
    "0",
    "adapter.0",
    "adapter.",
    ".r",
    "data.max_length",
    "hydra",
    "hydra.callbacks",
)
_VALUES = (
    "1",
    "0",
    "-1",
    "1e400",
    "nan",
    "inf",
    "null",
    "true",
    "''",
    "",
    "abc",
    "[1,2]",
    "[]",
    "{}",
    "{a:1}",
    "{a:{b:[1,{c:2}]}}",
    "[[[[]]]]",
    "1,2",
    "a,b",
    "range(1,5)",
    "range(0,1e9)",
    "choice(a,b)",
    "interval(0,1)",
    "glob(*)",
    "glob([a*],exclude=b*)",
    "sort(3,2,1)",
    "int(3.5)",
    "shuffle(1,2)",
    "tag(x,choice(1,2))",
    "json_str(x)",
    "extend_list(1)",
    "float(x)",
    "str([1])",
    "${seed}",
    "${name}",
    "${nope}",
    "${adapter.r}",
    "${oc.env:HOME}",
    "${oc.env:NOPE}",
    "${",
    "${now:%Y}",
    "${hydra:job.name}",
    "${oc.decode:x}",
    "${a:${b}}",
    "$",
    "{",
    "[",
    "'",
    '"',
    "\\",
    "(",
    ")",
    "é",
    "\u202e",
    "\x1b[31m",
    "\n",
    "\t",
    "a=b",
    "=",
    ":",
    "a:b",
    "@",
    "~",
    "minilm",
    "lora",
    "csv",
    "random_bert",
    "../x",
    "/etc/passwd",
    "os.system",
    "pipeline.adapter.Lora",
    "9" * 5000,
    "x" * 20_000,
    "[" * 300 + "]" * 300,
    "{a:" * 100 + "1" + "}" * 100,
    "1_000",
    "0x10",
    "[lora_bert,inspect_gpt3]",
    "query",
    "[query,value]",
    "2024-01-01",
    "-",
    "--",
    "???",
    "none",
)
_SENSIBLE = (
    "adapter.r=4",
    "adapter.lora_alpha=8",
    "adapter.target_modules=[query]",
    "seed=7",
    "reuse=false",
    "adapter.rank_pattern={query:4}",
    "finetune.learning_rate=1e-4",
    "model=random_bert",
    "name=mine",
    "data.max_length=64",
    "adapter.lora_dropout=0.1",
    "visualize.open=never",
    "hydra.run.dir=here",
    "finetune.num_train_epochs=2",
    "adapter.use_dora=true",
    "export.opset=20",
    "hydra.verbose=true",
    "adapter.lora_alpha=${adapter.r}",
    "adapter.layers_to_transform=[0,1]",
    "launch=local",
)
_FLAGS = (
    ["-m"],
    ["--multirun"],
    ["--cfg", "job"],
    ["--cfg", "all", "--resolve"],
    ["--help"],
    ["--cfg", "job", "--package", "adapter"],
    ["--cfg", "x"],
    ["--info", "all"],
    ["--package", "x"],
    ["--config-name", "config"],
    ["--config-name", "../x"],
    ["--config-dir", "nope"],
    ["--resolve"],
    ["--hydra-help"],
    ["-sc", "query=bash"],
    ["--nope"],
    ["--"],
    ["-"],
    ["--run", "--multirun"],
)
_PIECES = (
    "defaults:\n  - lora_bert\n",
    "defaults: [lora_bert, _self_]\n",
    "name: x\n",
    "seed: 0\n",
    "adapter: {r: 4}\n",
    "adapter:\n  target_modules: [query]\n",
    "# @package _global_\n",
    "---\n",
    "defaults:\n  - override /model: minilm\n  - _self_\n",
    "a: &a [1]\nb: *a\n",
    "<<: {a: 1}\n",
    "model: {task: causal_lm}\n",
    "hydra: {run: {dir: x}}\n",
    "a: ${b}\n",
    "b: ${a}\n",
    "? x\n",
    "x: !!python/object/apply:os.mkdir [CANARY]\n",
    "x: !y z\n",
    "a: |\n  text\n",
    "- a\n",
    "%YAML 1\n",
    "_target_: pipeline.adapter.Lora\n",
    "_target_: os.system\n",
    "r: 4\n",
    "train: x.csv\n",
    "allow_code: x\n",
    "a: 1\na: 2\n",
    "\t",
    "a: [\n",
    "a: '\n",
    "é: ü\n",
    "null: 1\n",
    "1: 2\n",
    "true: 1\n",
    "defaults: x\n",
    "defaults: [{a: b, c: d}]\n",
    "defaults: [1]\n",
    "defaults: [~]\n",
    "defaults: [{/model: [a, b]}]\n",
    "adapter: ${adapter}\n",
    "name: ${oc.env:HOME}\n",
    "name: [x]\n",
    "a: " + "9" * 6000 + "\n",
    "a: 1e999\n",
    "a: .nan\n",
    "a: 1:1:1\n",
    "a: 2001-01-01\n",
    "a.b: 1\n",
)


def overrides(chance: random.Random) -> list[str]:
    """Return what follows `python -m pipeline`."""
    given = ["+recipe=lora_bert"] if chance.random() < 0.8 else []
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.5:
            given.append(chance.choice(_SENSIBLE))
            continue
        sign = chance.choice(("", "", "", "", "+", "++", "~"))
        word = f"{sign}{chance.choice(_KEYS)}={chance.choice(_VALUES)}"
        if chance.random() < 0.1:
            word = word.partition("=")[0]
        if chance.random() < 0.5:
            word = chance.choice(_SENSIBLE) if chance.random() < 0.5 else word
            word = damaged(word.encode(), chance).decode(errors="surrogateescape")
        given.append(word.replace("\0", ""))  # no command line has one
    if chance.random() < 0.2:
        place = chance.randint(0, len(given))
        given[place:place] = chance.choice(_FLAGS)
    return given


def recipe(chance: random.Random, group: str) -> bytes:
    """Return the bytes of a YAML file that may be an option of the group."""
    if chance.random() < 0.6:
        text = chance.choice(_shipped(group))
        if chance.random() < 0.3:
            return text + chance.choice(_PIECES).encode()
    else:
        text = "".join(chance.choices(_PIECES, k=chance.randint(1, 6))).encode()
    return damaged(text, chance) if chance.random() < 0.8 else text


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some of them changed, lost, doubled or moved."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(made) + 1)
        length = chance.randint(1, 8)
        match chance.randrange(5):
            case 0:
                made[place : place + length] = b""
            case 1:
                made[place:place] = bytes(
                    chance.choices(b"{}[]:,'\"\\$#&*!|>%@`-=~+. \n\t()<", k=length)
                )
            case 2:
                made[place:place] = made[place : place + 4 * length]
            case 3:
                made[place : place + 1] = bytes([chance.randrange(256)])
            case _:
                other = chance.randrange(len(made) + 1)
                made[place : place + length] = made[other : other + length]
    return bytes(made)


@cache
def _shipped(group: str) -> tuple[bytes, ...]:
    recipes, options = shipped_folder("recipes"), shipped_folder("configs") / group
    folder = recipes if group == "recipe" else options
    return tuple(file.read_bytes() for file in sorted(folder.rglob("*.yaml")))
