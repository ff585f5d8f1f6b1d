"""Splits that a source lacks are drawn from its training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.table import Columns, Raw
from pipeline.errors import StageError

__all__ = ["Drawn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn(Columns):
    """What a source has that may lack a validation or a test split."""

    validation_size: float
    """Share of the training rows set aside when there is no validation split, 0 to 1."""
    test_size: float
    """The same for the test split, which is drawn first."""
    seed: int

    def __post_init__(self) -> None:
        for name in ("validation_size", "test_size"):
            if not 0 < (size := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {size}")
        # Not `super()`: a dataclass with slots is a new class, which its methods do not know.
        Columns.__post_init__(self)

    def rows(
        self, found: Mapping[str, Raw], numbers: Mapping[str, Sequence[int]]
    ) -> dict[str, tuple[str, list[int]]]:
        rows = Columns.rows(self, found, numbers)
        for split, size in (("test", self.test_size), ("validation", self.validation_size)):
            if split not in rows:
                kept, taken = _in_proportion(
                    rows["train"][1], numbers["train"], size, split, self.seed
                )
                rows["train"], rows[split] = ("train", kept), ("train", taken)
        return rows


def _in_proportion(
    rows: list[int], labels: Sequence[int], size: float, split: str, seed: int
) -> tuple[list[int], list[int]]:
    """Return the rows that stay and those that are taken, each label in proportion."""
    from sklearn.model_selection import train_test_split

    try:
        kept, taken = train_test_split(
            rows, test_size=size, random_state=seed, stratify=[labels[row] for row in rows]
        )
    except ValueError as error:
        raise StageError(
            f"data.{split}: cannot set aside {size:.0%} of {len(rows)} rows with every label in "
            f"proportion ({error}); give more rows or a file for this split"
        ) from error
    return sorted(kept), sorted(taken)
