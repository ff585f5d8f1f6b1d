"""The content of `parity.json`: what was compared, and whether it counts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import CheckError

__all__ = ["REFERENCE", "Probe", "Report", "rank", "worse"]

REFERENCE = "torch with adapter"
"""The format that the others are compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One batch that every format answered, and the differences found on it."""

    rows: int
    tokens: int | None
    """Of a row, padded; None where a row is no text."""
    padding: int
    """Padded positions among rows x tokens."""
    differences: Mapping[str, float]
    """Largest difference of a logit from the reference, in units of the largest logit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What every format answered, compared with the reference."""

    tolerance: float
    """The largest difference that counts as none: `export.tolerance`, or a tenth of what a trained
    adapter changes if that is less, so that a file that lost its adapter cannot pass."""
    largest_difference: float
    within_tolerance: bool
    effect_of_adapter: float | None
    """How much the logits change when the adapters are switched off, in the same unit; None where
    there is nothing to switch off: the head alone was trained."""
    export_shape: tuple[int, ...]
    """Of the first input of the batch the graph was traced with: rows, and tokens if it is text."""
    probes: tuple[Probe, ...]
    formats: Mapping[str, Mapping[str, float]]
    """For each format: its task metrics on the test split and its largest difference there."""

    @property
    def reference(self) -> Mapping[str, float]:
        """The metrics of the trained model in torch."""
        return self.formats[REFERENCE]

    def save(self, file: Path) -> None:
        """Write as JSON."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def lines(self) -> Iterator[str]:
        """Yield what a person wants to read: a line a format."""
        for name, told in self.formats.items():
            metrics = ", ".join(
                f"{key} {value:.4f}" for key, value in told.items() if key != "difference"
            )
            yield f"{name:<24} test {metrics}, differs by {told['difference']:.1e}"
        effect = "there is no adapter to switch off"
        if self.effect_of_adapter is not None:
            effect = (
                f"switching the adapters off changes the logits by {self.effect_of_adapter:.2g}"
            )
        yield f"{effect}; tolerance {self.tolerance:.0e}"

    def assert_within_tolerance(self) -> None:
        """Refuse the export when any format differs too much.

        Raises:
            CheckError: Names the worst format, its difference and the tolerance.
        """
        if self.within_tolerance:
            return
        found = {name: told["difference"] for name, told in self.formats.items()}
        for probe in self.probes:
            for name, value in probe.differences.items():
                found[name] = worse(found[name], value)
        worst = max(found, key=lambda name: rank(found[name]))
        raise CheckError(
            f"export: {worst} differs from {REFERENCE} by {found[worst]:.2e} of the largest logit, "
            f"more than {self.tolerance:.2e} (export.tolerance, or a tenth of the adapters' effect)"
        )


def rank(difference: float) -> float:
    """Return a value to order differences by; one that is not a number is the worst."""
    return float("inf") if math.isnan(difference) else difference


def worse(a: float, b: float) -> float:
    """Return the larger difference; one that is not a number is the larger."""
    return max(a, b, key=rank)
