"""Rows from which a tiny model learns something in a few steps, for every task."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["CLASSES", "FAMILIES", "TASKS", "data"]

CLASSES = ("blue", "green", "red")
_WORDS = ("stone", "paper", "water", "cloud", "wheel")


def _text(draw: random.Random) -> dict[str, Any]:
    """A colour among other words."""
    colour = draw.choice(CLASSES)
    return {"text": f"{colour} {draw.choice(_WORDS)} {colour}", "label": colour}


def _several(draw: random.Random) -> dict[str, Any]:
    colours = sorted(draw.sample(CLASSES, draw.randint(1, 2)))
    return {"text": " ".join([*colours, draw.choice(_WORDS)]), "label": colours}


def _number(draw: random.Random) -> dict[str, Any]:
    """How many of four words are the colour."""
    count = draw.randint(0, 4)
    words = ["red"] * count + ["stone"] * (4 - count)
    draw.shuffle(words)
    return {"text": " ".join(words), "label": float(count)}


def _words(draw: random.Random) -> dict[str, Any]:
    """Which of some words are colours."""
    words = [draw.choice((*CLASSES, *_WORDS)) for _ in range(draw.randint(3, 5))]
    return {"text": words, "label": ["B-COL" if word in CLASSES else "O" for word in words]}


def _continued(draw: random.Random) -> dict[str, Any]:
    """A word that comes again and again."""
    return {"text": " ".join([draw.choice(CLASSES)] * 4)}


def _translated(draw: random.Random) -> dict[str, Any]:
    colour = draw.choice(CLASSES)
    return {"text": f"{colour} {draw.choice(_WORDS)}", "label": colour}


_ROWS: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "sequence_classification": _text,
    "multi_label_classification": _several,
    "regression": _number,
    "token_classification": _words,
    "causal_lm": _continued,
    "seq2seq": _translated,
}
TASKS = (*_ROWS, "image_classification")

_TEXT = ("sequence_classification", "multi_label_classification", "regression",
         "token_classification")  # fmt: skip
_SPEAKS = ("causal_lm", "sequence_classification", "token_classification")
_IMAGES = ("image_classification",)
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "bert": _TEXT,
    "roberta": _TEXT,
    "distilbert": _TEXT,
    "modernbert": _TEXT,
    "deberta_v2": _TEXT,
    "gpt2": _SPEAKS,
    "llama": _SPEAKS,
    "qwen3": _SPEAKS,
    "mistral": _SPEAKS,
    "gemma": _SPEAKS,
    "t5": ("seq2seq",),
    "vit": _IMAGES,
    "resnet": _IMAGES,
    "convnext": _IMAGES,
    "timm": _IMAGES,
    "cnn": _IMAGES,
}
"""The tasks of each family whose tiny model is in tests/tiny/model; its own comes first."""


def data(task: str, folder: Path, rows: int, *, seed: int = 0) -> list[str]:
    """Write rows for a task, and return what the command line needs to read them.

    Args:
        task: One of `TASKS`.
        folder: For the files; the same arguments write the same bytes.
        rows: To train on; half as many to validate, and to test.
        seed: Of the rows.
    """
    if task not in _ROWS:
        return _images(folder, rows, seed)
    draw = random.Random(f"{task} {seed}")  # noqa: S311 - rows, no secret
    folder.mkdir(parents=True, exist_ok=True)
    said = ["data=jsonl", "data.text_column=text"]
    for split, count in (("train", rows), ("validation", rows // 2), ("test", rows // 2)):
        made = [_ROWS[task](draw) for _ in range(count)]
        file = folder / f"{split}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in made), encoding="utf-8")
        said.append(f"data.{split}={file}")
    label = "label" if "label" in _ROWS[task](draw) else "null"
    return [*said, f"data.label_column={label}"]


def _images(folder: Path, rows: int, seed: int) -> list[str]:
    """Squares that are bright above, below or on the left, with noise."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(seed)
    for split, count in (("train", rows), ("validation", rows // 2), ("test", rows // 2)):
        for number in range(count):
            pixels = draw.integers(0, 60, (16, 16, 3))
            place = number % 3
            pixels[(slice(8), slice(8, 16), slice(16))[place], : 8 if place == 2 else 16] += 180
            file = folder / split / ("above", "below", "left")[place] / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype("uint8")).save(file)
    return ["data=image_folder", f"data.path={folder}"]
