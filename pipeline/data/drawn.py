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

__all__ = ["Drawn", "check_drawing", "drawn"]


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
        check_drawing(self.validation_size, self.test_size, self.seed)
        # Not `super()`: a dataclass with slots is a new class, which its methods do not know.
        Columns.__post_init__(self)

    def usable(self, raw: Raw) -> Raw:
        return without_empty(raw, self.wanted) if self.drop_empty else raw

    def rows(
        self, found: Mapping[str, Raw], strata: Sequence[int] | None
    ) -> dict[str, tuple[str, list[int]]]:
        sizes = {"test": self.test_size, "validation": self.validation_size}
        rows = Columns.rows(self, found, strata)
        return drawn(found, rows, strata, sizes, self.label_column, self.seed)


def check_drawing(validation_size: float, test_size: float, seed: int) -> None:
    """Refuse settings that no split can be drawn with.

    Raises:
        ValueError: Names the setting.
    """
    for name, size in (("validation_size", validation_size), ("test_size", test_size)):
        if not 0 < size < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {size}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 4294967295, got {seed}")


def drawn(
    found: Mapping[str, Raw],
    rows: Mapping[str, tuple[str, list[int]]],
    strata: Sequence[int] | None,
    sizes: Mapping[str, float],
    label: str | None,
    seed: int,
) -> dict[str, tuple[str, list[int]]]:
    """Return where the rows of each split come from, with those that are missing drawn.

    Args:
        found: The splits that the source has.
        rows: Where their rows come from.
        strata: The group of each training row, of which a drawn split has its share.
        sizes: Share of the training rows of each split that may be missing, in this order.
        label: Column of the groups' names, for messages.
        seed: Decides which rows.

    Raises:
        StageError: There are too few.
    """
    rows = dict(rows)
    for split, size in sizes.items():
        if split not in rows:
            kept, taken = _in_proportion(
                found["train"], rows["train"][1], strata, size, split, label, seed
            )
            rows["train"], rows[split] = ("train", kept), ("train", taken)
    return rows


def _in_proportion(
    raw: Raw,
    rows: list[int],
    labels: Sequence[int] | None,
    size: float,
    split: str,
    column: str | None,
    seed: int,
) -> tuple[list[int], list[int]]:
    """Return the rows that stay and those that are taken, each label in proportion if any."""
    from sklearn.model_selection import train_test_split

    try:
        kept, taken = train_test_split(
            rows,
            test_size=size,
            random_state=seed,
            stratify=None if labels is None else [labels[row] for row in rows],
        )
    except ValueError as error:
        if labels is None or column is None:
            raise StageError(
                f"data.{split}: cannot set aside {size:.0%} of {len(rows)} rows and leave some "
                "to train on; give more rows or a file for this split"
            ) from error
        counts = Counter(labels[row] for row in rows)
        rarest = min(counts, key=lambda label: counts[label])
        example = next(row for row in rows if labels[row] == rarest)
        word = as_word(raw.column(column)[example])
        raise StageError(
            f"data.{split}: cannot set aside {size:.0%} of {len(rows)} rows with every label "
            f"in proportion: {len(counts)} labels, of which {word!r} "
            f"({raw.origin} {raw.rows.unit} {raw.rows.places[example]}) has {counts[rarest]} "
            "of them; give more rows or a file for this split"
        ) from error
    return sorted(kept), sorted(taken)
