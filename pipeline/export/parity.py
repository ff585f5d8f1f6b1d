"""Prove that every exported file computes what was trained.

The reference is torch with the adapter as a branch of its own. Each other format answers the same
batches: four probes of real examples, padded, with sizes and lengths other than those of the
export, and then the whole test split, which also gives each format its own task metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.errors import CheckError
from pipeline.export.report import REFERENCE, Probe, Report, rank, worse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from datasets import Dataset
    from peft import PeftModel
    from torch import Tensor, nn

    from pipeline.tasks import Collate, Task

    Answer = Callable[[Mapping[str, Tensor]], np.ndarray]

__all__ = ["Parity"]

_PROBE_ROWS = (3, 7)
_TEST_BATCH = 32
_CLEARLY = 10
"""How many times smaller than the effect of the adapters a difference must be."""
_AT_ONCE = 64 * 1024**2
"""Bytes of logits of one batch, where an output a word of the vocabulary makes them large."""
_KEPT = 512 * 1024**2
"""Bytes of the reference's logits that are kept; what is above is compared by its metrics alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What one format answered."""

    differences: list[float]
    """From the reference: one a probe, and then one a batch of the test split that was kept."""
    metrics: Mapping[str, float]


class Parity:
    """Collects the answers of each format, and compares them with the reference's."""

    def __init__(
        self,
        task: Task,
        test: Dataset,
        collate: Collate,
        tolerance: float,
        labels: Sequence[str] = (),
    ) -> None:
        self._task, self._test, self._collate = task, test, collate
        self._tolerance = tolerance
        self._labels = labels
        self._order = np.argsort(np.asarray(test["length"]), kind="stable")
        # Two lengths, so that there is padding and the model makes a mask.
        pair = self._order[[len(self._order) // 4, len(self._order) // 2]]
        self.sample: dict[str, Tensor] = _inputs(collate, test, pair)
        """The batch to trace with: tensors by input name, of two rows."""
        probes = [_inputs(collate, test, rows) for rows in _probe_rows(self._order)]
        self._probes = [
            task.resized(probe) if _shape(probe)[1:] == _shape(self.sample)[1:] else probe
            for probe in probes
        ]
        self._rows = _TEST_BATCH
        self._effect: float | None = None
        self._expected: list[np.ndarray] = []
        self._found: dict[str, _Found] = {}

    def reference(self, model: nn.Module) -> None:
        """Take the answers that all others are compared with."""
        answer = _torch(model)
        self._expected = [answer(probe) for probe in self._probes]
        of_a_row = max(logits.nbytes // len(logits) for logits in self._expected)
        self._rows = max(1, min(_TEST_BATCH, _AT_ONCE // of_a_row))
        self._found[REFERENCE] = self._asked(answer, keep=True)

    def effect_of_adapter(self, model: PeftModel, *, must_differ: bool) -> None:
        """Measure what the adapters alone change; the trained head stays in place.

        Raises:
            CheckError: `must_differ`, and switching the adapters off changes nothing.
        """
        with _adapters_off(model):
            answer = _torch(model)
            without = [answer(probe) for probe in self._probes]
        self._effect = max(
            _difference(expected, found, probe)
            for expected, found, probe in zip(self._expected, without, self._probes, strict=False)
        )
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
        self._found[name] = self._asked(_torch(model))

    def onnx_file(self, file: Path) -> None:
        """Take the answers of an ONNX file, run by ONNX Runtime on the CPU."""
        self._found[file.name] = self._asked(_onnx(file))

    def report(self) -> Report:
        """Compare all answers."""
        probes = len(self._probes)
        largest = 0.0
        for found in self._found.values():
            for value in found.differences:
                largest = worse(largest, value)
        return Report(
            tolerance=self._tolerance,
            largest_difference=largest,
            within_tolerance=largest <= self._tolerance,
            effect_of_adapter=self._effect,
            export_shape=_shape(self.sample),
            probes=tuple(
                _probe(batch, {name: found.differences[i] for name, found in self._found.items()})
                for i, batch in enumerate(self._probes)
            ),
            formats={
                name: {
                    **found.metrics,
                    "difference": max(found.differences[probes:], key=rank),
                }
                for name, found in self._found.items()
            },
        )

    def _asked(self, answer: Answer, *, keep: bool = False) -> _Found:
        """Ask a format everything.

        Args:
            answer: Asks it one batch.
            keep: Whether these are the answers that others are compared with.
        """
        differences = [
            0.0 if keep else _difference(expected, answer(probe), probe)
            for expected, probe in zip(self._expected, self._probes, strict=False)
        ]
        judged: list[Any] = []
        kept = 0
        for number, batch in enumerate(self._batches(), start=len(self._probes)):
            labels = batch.pop("labels")
            logits = answer(batch)
            # The first in any case; none after one that was left out, or the places would not fit.
            fits = kept == 0 or kept + logits.nbytes <= _KEPT
            if keep and fits and number == len(self._expected):
                self._expected.append(logits)
                kept += logits.nbytes
            if number < len(self._expected):
                differences.append(_difference(self._expected[number], logits, batch))
            judged += self._task.judged(torch.from_numpy(logits), labels)
        return _Found(differences=differences, metrics=self._task.metrics(judged, self._labels))

    def _batches(self) -> Iterator[dict[str, Tensor]]:
        """Give the whole test split, rows of similar length together, with labels."""
        for start in range(0, len(self._order), self._rows):
            rows = self._order[start : start + self._rows]
            yield self._collate([self._test[int(row)] for row in rows])


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


def _shape(batch: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the shape of the first of a batch's tensors."""
    return tuple(next(iter(batch.values())).shape)


def _torch(model: nn.Module) -> Answer:
    def answer(batch: Mapping[str, Tensor]) -> np.ndarray:
        with torch.no_grad():
            logits: Tensor = model(**batch).logits
        return logits.numpy()

    return answer


def _onnx(file: Path) -> Answer:
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


def _difference(expected: np.ndarray, found: np.ndarray, batch: Mapping[str, Tensor]) -> float:
    """Return the largest difference in units of the largest logit, which counts at least 1.

    Of logits a token those of padding do not count: nobody reads them.
    """
    mask = batch.get("attention_mask")
    if mask is not None and expected.ndim == 3 and tuple(mask.shape) == expected.shape[:2]:
        expected, found = expected[mask.numpy() == 1], found[mask.numpy() == 1]
    return float(np.abs(expected - found).max() / max(1.0, float(np.abs(expected).max())))


def _probe(batch: Mapping[str, Tensor], differences: Mapping[str, float]) -> Probe:
    rows, tokens = _shape(batch)[:2]
    mask = batch.get("attention_mask")
    padding = 0 if mask is None else int((mask == 0).sum())
    others = {name: value for name, value in differences.items() if name != REFERENCE}
    return Probe(
        rows=rows, tokens=tokens if mask is not None else None, padding=padding, differences=others
    )
