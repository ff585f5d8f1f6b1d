"""One label for an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor
from torch.nn import functional

from pipeline.errors import StageError
from pipeline.tasks.labels import check_labels, label_names, label_numbers
from pipeline.tasks.pictures import as_picture, channels_of, check_picture, decoded, thumbnail
from pipeline.tasks.sequence_classification import accuracy_and_f1
from pipeline.tasks.shown import Part, Shown
from pipeline.tasks.text import needed_label, refuse_empty

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import BaseModel
    from pipeline.rows import Raw
    from pipeline.tasks import Collate
    from pipeline.tasks.wanted import Wanted

__all__ = ["TASK", "ImageClassification"]

_NAME = "image_classification"
_SIDE = 48
"""Pixels of the images to trace with, which the image processor brings to the model's size."""
_A_CHUNK = 256
"""Images in one piece of a table, which must stay below 2 GiB."""


class ImageClassification:
    """Cross-entropy over the labels; accuracy and macro F1. Images are never changed at random.

    The table holds them encoded, as they were found: a photo takes a tenth of the room of its
    pixels, and 2 to 3 ms each time to decode, resize and scale.
    """

    auto_class = "AutoModelForImageClassification"
    problem_type: str | None = "single_label_classification"
    peft_task_type: str | None = None
    labelled = True
    reads: Literal["text", "images"] = "images"
    best_metric = "macro_f1"
    greater_is_better = True

    def save_processor(self, base: BaseModel, folder: Path) -> None:
        base.load_image_processor().save_pretrained(folder)

    def example(self, base: BaseModel) -> dict[str, Tensor]:
        """Return two gradients, across and down, as the image processor makes them."""
        from PIL import Image

        ramp = np.tile(np.linspace(0, 255, _SIDE).astype(np.uint8), (_SIDE, 1))
        mode = "L" if channels_of(base) == 1 else "RGB"
        images = [Image.fromarray(each).convert(mode) for each in (ramp, ramp.T.copy())]
        return {"pixel_values": _pixels(base.load_image_processor(), images)}

    def dynamic_axes(self, inputs: Sequence[str]) -> dict[str, dict[int, str]]:
        return {name: {0: "batch"} for name in inputs}

    def check_settings(self, wanted: Wanted, base: BaseModel) -> None:
        """Refuse a second input: a model reads one image at a time."""
        if len(wanted.inputs) != 1:
            key = list(wanted.inputs)[1]
            raise StageError(f"data.{key}: {_NAME} reads one image a row; set data.{key}=null")

    def check(self, raw: Raw, wanted: Wanted) -> None:
        for column in wanted.inputs.values():
            refuse_empty(raw, column)
            for row, value in enumerate(raw.column(column)):
                try:
                    check_picture(as_picture(value).read())
                except ValueError as error:
                    raise StageError(f"{raw.where(row)} {error}") from error
                except OSError as error:
                    raise StageError(f"{raw.where(row)}: cannot read: {error.strerror}") from error
        label = needed_label(wanted, _NAME)
        refuse_empty(raw, label)
        check_labels(raw, label)

    def names(self, train: Raw, wanted: Wanted) -> tuple[str, ...]:
        return label_names(train.column(needed_label(wanted, _NAME)))

    def targets(self, raw: Raw, wanted: Wanted, names: Sequence[str]) -> Sequence[Any]:
        return label_numbers(raw, needed_label(wanted, _NAME), names)

    def strata(self, targets: Sequence[Any]) -> Sequence[int] | None:
        return targets

    def encode(
        self,
        raw: Raw,
        rows: Sequence[int],
        targets: Sequence[Any],
        wanted: Wanted,
        base: BaseModel,
    ) -> dict[str, Any]:
        import pyarrow as pa

        (column,) = wanted.inputs.values()
        found = raw.column(column)
        chunks = [
            pa.array([as_picture(found[row]).read() for row in some], pa.binary())
            for some in (rows[at : at + _A_CHUNK] for at in range(0, len(rows), _A_CHUNK))
        ]
        return {
            "image": pa.chunked_array(chunks, pa.binary()),
            "labels": [targets[row] for row in rows],
            "length": [1] * len(rows),
        }

    def limit(self, wanted: Wanted, base: BaseModel) -> int | None:
        return None

    def labels_in(self, target: Any, names: Sequence[str]) -> Sequence[str]:
        return (names[target],)

    def shown(self, raw: Raw, row: int, target: Any, wanted: Wanted, names: Sequence[str]) -> Shown:
        (column,) = wanted.inputs.values()
        small = thumbnail(as_picture(raw.column(column)[row]).read())
        return Shown(parts=(Part(name=column, image=small),), label=names[target])

    def collate(self, base: BaseModel) -> Collate:
        """Decode, and apply the image processor: float32 (rows, channels, height, width)."""
        from torch import tensor

        processor, channels = base.load_image_processor(), channels_of(base)

        def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
            images = [decoded(row["image"], channels) for row in examples]
            batch = {"pixel_values": _pixels(processor, images)}
            if "labels" in examples[0]:
                batch["labels"] = tensor([row["labels"] for row in examples])
            return batch

        return collate

    def resized(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the batch: only its rows vary."""
        return dict(batch)

    def loss(self, logits: Tensor, labels: Tensor, items: Tensor | int) -> Tensor:
        return functional.cross_entropy(logits.float(), labels, reduction="sum") / items

    def judged(self, logits: Tensor, labels: Tensor) -> list[Any]:
        chosen = logits.argmax(dim=-1)
        return list(zip(chosen.tolist(), labels.tolist(), strict=True))

    def metrics(self, judged: Sequence[Any], names: Sequence[str] = ()) -> dict[str, float]:
        chosen, labels = (np.array(each) for each in zip(*judged, strict=True))
        return accuracy_and_f1(chosen, labels)


def _pixels(processor: Any, images: Sequence[Any]) -> Tensor:
    pixels: Tensor = processor(list(images), return_tensors="pt")["pixel_values"]
    return pixels.float()


TASK = ImageClassification()
