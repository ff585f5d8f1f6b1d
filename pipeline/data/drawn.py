"""Splits that a source lacks are drawn from its training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.data.checks import without_empty
from pipeline.data.table import Columns
from pipeline.errors import StageError
from pipeline.rows import Raw
from pipeline.tasks.labels import as_word

__all__ = ["Drawn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn(Columns):
    """What a source has that may lack a validation or a test split."""

    drop_empty: bool
    """Whether rows without a text or a label are left out; else they are refused."""
    validation_size: float
    """Share of the training rows set aside when there is no validation split, 0 to 1."""
    test_size: float
    """The same for the test split, which is drawn first."""
    seed: int

    def __post_init__(self) -> None:
        for name in ("validation_size", "test_size"):
            if not 0 < (size := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {size}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 4294967295, got {self.seed}")
        # Not `super()`: a dataclass with slots is a new class, which its methods do not know.
        Columns.__post_init__(self)

    def usable(self, raw: Raw) -> Raw:
        return without_empty(raw, self.wanted) if self.drop_empty else raw

    def rows(
        self, found: Mapping[str, Raw], strata: Sequence[int] | None
    ) -> dict[str, tuple[str, list[int]]]:
        rows = Columns.rows(self, found, strata)
        for split, size in (("test", self.test_size), ("validation", self.validation_size)):
            if split not in rows:
                kept, taken = self._in_proportion(
                    found["train"], rows["train"][1], strata, size, split
                )
                rows["train"], rows[split] = ("train", kept), ("train", taken)
        return rows

    def _in_proportion(
        self, raw: Raw, rows: list[int], labels: Sequence[int] | None, size: float, split: str
    ) -> tuple[list[int], list[int]]:
        """Return the rows that stay and those that are taken, each label in proportion if any."""
        from sklearn.model_selection import train_test_split

        try:
            kept, taken = train_test_split(
                rows,
                test_size=size,
                random_state=self.seed,
                stratify=None if labels is None else [labels[row] for row in rows],
            )
        except ValueError as error:
            if labels is None or self.label_column is None:
                raise StageError(
                    f"data.{split}: cannot set aside {size:.0%} of {len(rows)} rows and leave some "
                    "to train on; give more rows or a file for this split"
                ) from error
            counts = Counter(labels[row] for row in rows)
            rarest = min(counts, key=lambda label: counts[label])
            example = next(row for row in rows if labels[row] == rarest)
            word = as_word(raw.column(self.label_column)[example])
            raise StageError(
                f"data.{split}: cannot set aside {size:.0%} of {len(rows)} rows with every label "
                f"in proportion: {len(counts)} labels, of which {word!r} "
                f"({raw.origin} {raw.rows.unit} {raw.rows.places[example]}) has {counts[rarest]} "
                "of them; give more rows or a file for this split"
            ) from error
        return sorted(kept), sorted(taken)
