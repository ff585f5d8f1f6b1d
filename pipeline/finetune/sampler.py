"""Which rows make a step, and which process and micro-batch sees each of them.

An epoch is a pure function of (lengths, batch size, seed, epoch): the number of processes and the
size of a micro-batch change who computes a row, never the step it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Batches", "Remaining", "epoch_steps", "evaluation_batches", "items_of", "share"]

Rows = NDArray[np.int64]


def epoch_steps(
    lengths: Rows, batch_size: int, *, seed: int, epoch: int, by_length: bool
) -> list[Rows]:
    """Return the rows of every optimizer step of an epoch, each row once.

    Every step has `batch_size` rows, but the last one takes what remains. With `by_length` the
    rows are cut into steps in the order of their lengths and the steps are shuffled; rows of the
    same length, and the place of the smaller step among the lengths, are drawn anew every epoch.
    """
    random = np.random.default_rng([seed, epoch])
    rows = random.permutation(len(lengths))
    full, rest = divmod(len(rows), batch_size)
    if by_length:
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        start = int(random.integers(full + 1)) * batch_size
    else:
        start = full * batch_size
    last = rows[start : start + rest]
    steps = np.delete(rows, slice(start, start + rest)).reshape(full, batch_size)
    if by_length:
        random.shuffle(steps)
    return [*steps, last] if rest else list(steps)


def share(
    step: Rows, lengths: Rows, *, process: int, processes: int, micro_batches: int
) -> list[list[int]]:
    """Return the micro-batches of one process; some are empty when there are too few rows.

    The rows are dealt out by length, so that processes have equal work, and neighbours in length
    share a micro-batch.
    """
    by_length = step[np.argsort(-lengths[step], kind="stable")]
    return [part.tolist() for part in np.array_split(by_length[process::processes], micro_batches)]


def evaluation_batches(lengths: Rows, batch_size: int) -> list[list[int]]:
    """Cut all rows into batches of similar length, the longest first: memory runs out early."""
    rows = np.argsort(-lengths, kind="stable")
    return [rows[start : start + batch_size].tolist() for start in range(0, len(rows), batch_size)]


def items_of(table: Dataset, rows: Sequence[int] | None = None) -> int:
    """Return how many items the loss of some rows of a table, or of all, is the mean of."""
    if "items" not in table.column_names:
        return len(table if rows is None else rows)
    items = np.asarray(table["items"])
    return int(items.sum() if rows is None else items[list(rows)].sum())


class Batches:
    """The micro-batches of one process for one epoch, as a data loader takes them."""

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        per_device: int,
        process: int,
        processes: int,
        seed: int,
        by_length: bool,
        items: Sequence[int] | None = None,
    ) -> None:
        """Count steps and micro-batches.

        Args:
            lengths: Of the rows.
            batch_size: Rows of a step.
            per_device: The most rows of a micro-batch.
            process: Number of this one.
            processes: How many there are.
            seed: Decides the order.
            by_length: Whether rows of similar length share a step.
            items: What the loss of each row sums over; None is one item a row.
        """
        self._items = None if items is None else np.asarray(items, dtype=np.int64)
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._batch_size = batch_size
        self._process, self._processes = process, processes
        self._seed, self._by_length = seed, by_length
        self._epoch = 0
        self._counted: tuple[int, list[int]] = (-1, [])
        self.steps = -(-len(self._lengths) // batch_size)
        self.micro_batches = self._count(batch_size, per_device)
        """Micro-batches of a step: the steps of gradient accumulation."""
        self._last = self._count(self.rows(self.steps - 1), per_device)

    def _count(self, rows: int, per_device: int) -> int:
        most_of_a_process = -(-rows // self._processes)
        return -(-most_of_a_process // per_device)

    def rows(self, step: int) -> int:
        """Return how many rows all processes together see in a step, counted from 0 in training."""
        return min(self._batch_size, len(self._lengths) - step % self.steps * self._batch_size)

    def items(self, step: int) -> int:
        """Return what the loss of a step is the mean over, in all processes together."""
        if self._items is None:
            return self.rows(step)
        epoch, number = divmod(step, self.steps)
        if self._counted[0] != epoch:
            self._counted = epoch, [int(self._items[each].sum()) for each in self._of(epoch)]
        return self._counted[1][number]

    def _of(self, epoch: int) -> list[Rows]:
        return epoch_steps(
            self._lengths,
            self._batch_size,
            seed=self._seed,
            epoch=epoch,
            by_length=self._by_length,
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        return (self.steps - 1) * self.micro_batches + self._last

    def __iter__(self) -> Iterator[list[int]]:
        for number, step in enumerate(self._of(self._epoch)):
            yield from share(
                step,
                self._lengths,
                process=self._process,
                processes=self._processes,
                micro_batches=self.micro_batches if number < self.steps - 1 else self._last,
            )


class Remaining:
    """The micro-batches of an epoch whose first steps may have been done by another process."""

    def __init__(self, batches: Batches) -> None:
        """Yield those of `batches`."""
        self._batches = batches
        self._done = (0, 0)
        self._epoch = 0

    def skip(self, epoch: int, steps: int) -> None:
        """Leave out the first steps of an epoch."""
        self._done = epoch, steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self._epoch = epoch
        self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        """Count the micro-batches of a whole epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, steps = self._done
        done = steps * self._batches.micro_batches if self._epoch == epoch else 0
        return islice(iter(self._batches), done, None)
