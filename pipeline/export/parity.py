"""Prove that every exported file computes what was trained.

The reference is torch with the adapter as a branch of its own. Each other format answers the same
batches: four probes of real examples, padded, with sizes and lengths other than those of the
export, and then the whole test split, which also gives each format its own task metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pipeline.errors import CheckError
from pipeline.export.report import REFERENCE, Probe, Report, rank, worse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datasets import Dataset
    from peft import PeftModel
    from torch import Tensor, nn

    from pipeline.tasks import Collate, TrainableTask

__all__ = ["Parity"]

_PROBE_ROWS = (3, 7)
_TEST_BATCH = 32
_CLEARLY = 10
"""How many times smaller than the effect of the adapters a difference must be."""


class Parity:
    """Collects the answers of each format, and compares them with the reference's."""

    def __init__(
        self, task: TrainableTask, test: Dataset, collate: Collate, tolerance: float
    ) -> None:
        self._task = task
        self._tolerance = tolerance
        lengths = np.asarray(test["length"])
        order = np.argsort(lengths, kind="stable")
        self._labels = np.asarray(test["labels"])[order]
        self._batches = [
            _inputs(collate, test, order[start : start + _TEST_BATCH])
            for start in range(0, len(order), _TEST_BATCH)
        ]
        # Two lengths, so that there is padding and the model makes a mask.
        pair = order[[len(order) // 4, len(order) // 2]]
        self.sample: dict[str, Tensor] = _inputs(collate, test, pair)
        """The batch to trace with: int64 tensors (2, tokens) by input name."""
        self._probes = [
            _other_length(_inputs(collate, test, rows), self.sample) for rows in _probe_rows(order)
        ]
        self._effect = 0.0
        self._expected: list[np.ndarray] = []
        self._answers: dict[str, list[np.ndarray]] = {}

    def reference(self, model: nn.Module) -> None:
        """Take the answers that all others are compared with."""
        self._expected = self._ask(_torch(model))
        self._answers[REFERENCE] = self._expected

    def effect_of_adapter(self, model: PeftModel, *, must_differ: bool) -> None:
        """Measure what the adapters alone change; the trained head stays in place.

        Raises:
            CheckError: `must_differ`, and switching the adapters off changes nothing.
        """
        with _adapters_off(model):
            without = self._ask(_torch(model), probes_only=True)
        self._effect = max(_difference(a, b) for a, b in zip(self._expected, without, strict=False))
        if not must_differ:
            return
        if self._effect == 0:
            raise CheckError(
                "export: the adapters were trained, but switching them off changes no logit; "
                "the trained weights were not loaded or not learned"
            )
        # A file that lost its adapter must not pass as equal.
        self._tolerance = min(self._tolerance, self._effect / _CLEARLY)

    def torch_model(self, name: str, model: nn.Module) -> None:
        """Take the answers of a model as torch loads it from what was exported."""
        self._answers[name] = self._ask(_torch(model))

    def onnx_file(self, file: Path) -> None:
        """Take the answers of an ONNX file, run by ONNX Runtime on the CPU."""
        self._answers[file.name] = self._ask(_onnx(file))

    def report(self) -> Report:
        """Compare all answers."""
        probes = len(self._probes)
        differences = {
            name: [_difference(a, b) for a, b in zip(self._expected, answers, strict=True)]
            for name, answers in self._answers.items()
        }
        largest = 0.0
        for values in differences.values():
            for value in values:
                largest = worse(largest, value)
        formats = {
            name: {
                **self._task.metrics(np.concatenate(answers[probes:]), self._labels),
                "difference": max(differences[name][probes:], key=rank),
            }
            for name, answers in self._answers.items()
        }
        ids = next(iter(self.sample.values()))
        return Report(
            tolerance=self._tolerance,
            largest_difference=largest,
            within_tolerance=largest <= self._tolerance,
            effect_of_adapter=self._effect,
            export_shape=(ids.shape[0], ids.shape[1]),
            probes=tuple(
                _probe(batch, {name: values[i] for name, values in differences.items()})
                for i, batch in enumerate(self._probes)
            ),
            formats=formats,
        )

    def _ask(
        self, answer: Callable[[Mapping[str, Tensor]], np.ndarray], *, probes_only: bool = False
    ) -> list[np.ndarray]:
        batches = self._probes if probes_only else [*self._probes, *self._batches]
        return [answer(batch) for batch in batches]


def _inputs(
    collate: Collate, table: Dataset, rows: Sequence[int] | np.ndarray
) -> dict[str, Tensor]:
    batch = collate([table[int(row)] for row in rows])
    return {name: value for name, value in batch.items() if name != "labels"}


def _probe_rows(order: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows for each probe: two sizes, from the shorter and from the longer half."""
    half = max(1, len(order) // 2)
    for rows in _PROBE_ROWS:
        for part in (order[:half], order[-half:]):
            spread = np.linspace(0, len(part) - 1, rows).round().astype(int)
            yield part[spread]


def _other_length(batch: dict[str, Tensor], sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the batch with one more padded position when it is as long as the export's."""
    ids = next(iter(sample.values()))
    length = next(iter(batch.values())).shape[1]
    if length != ids.shape[1]:
        return batch
    return {name: torch.nn.functional.pad(value, (0, 1)) for name, value in batch.items()}


def _torch(model: nn.Module) -> Callable[[Mapping[str, Tensor]], np.ndarray]:
    def answer(batch: Mapping[str, Tensor]) -> np.ndarray:
        with torch.no_grad():
            logits: Tensor = model(**batch).logits
        return logits.numpy()

    return answer


def _onnx(file: Path) -> Callable[[Mapping[str, Tensor]], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    wanted = {each.name for each in session.get_inputs()}

    def answer(batch: Mapping[str, Tensor]) -> np.ndarray:
        given = {name: value.numpy() for name, value in batch.items() if name in wanted}
        (logits,) = session.run(["logits"], given)
        return np.asarray(logits)

    return answer


@contextmanager
def _adapters_off(model: PeftModel) -> Iterator[None]:
    """Switch off the adapter layers alone; PEFT's own switch takes the trained head with them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the largest difference in units of the largest logit, which counts at least 1."""
    return float(np.abs(expected - found).max() / max(1.0, float(np.abs(expected).max())))


def _probe(batch: Mapping[str, Tensor], differences: Mapping[str, float]) -> Probe:
    rows, tokens = next(iter(batch.values())).shape
    mask = batch.get("attention_mask")
    padding = 0 if mask is None else int((mask == 0).sum())
    others = {name: value for name, value in differences.items() if name != REFERENCE}
    return Probe(rows=rows, tokens=tokens, padding=padding, differences=others)
