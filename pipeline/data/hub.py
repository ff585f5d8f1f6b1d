"""Rows from a data set on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.drawn import Drawn
from pipeline.data.table import SPLITS, Raw
from pipeline.errors import StageError, among

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["Hub"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub(Drawn):
    """A data set by its id. Data only: the hub's loading scripts are never run."""

    repo_id: str
    """Such as `nyu-mll/glue`."""
    config_name: str | None
    """Such as `sst2`, for data sets that have several."""
    revision: str | None
    """Branch, tag or commit; None is the newest."""
    train: str
    """Name of the split in the data set."""
    validation: str | None
    test: str | None

    def load(self) -> dict[str, Raw]:
        found = self._fetch()
        raws = {}
        for split in SPLITS:
            name = getattr(self, split)
            if name is None:
                continue
            if name not in found:
                raise StageError(
                    f"data.{split}: no split {name!r} in {self.repo_id}"
                    f"{among(name, found, 'Splits')}"
                )
            raws[split] = self._named(split, found[name], f"{self.repo_id} ({name})")
        return raws

    def _fetch(self) -> DatasetDict:
        from datasets import DatasetDict, load_dataset
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # of its client

        try:
            found = load_dataset(self.repo_id, self.config_name, revision=self.revision)
        except (OSError, HTTPError) as error:  # no network, no such data set or revision
            raise StageError(
                f"data.repo_id: {self.repo_id!r} is neither in the local cache nor to be had from "
                f"the hub: {_one_line(error)}"
            ) from error
        except (ValueError, RuntimeError, DatasetsError) as error:
            # No such config; rows that only a script could make; damaged files.
            raise StageError(
                f"data.repo_id: cannot load {self.repo_id!r} with data.config_name="
                f"{self.config_name}: {_one_line(error)}"
            ) from error
        assert isinstance(found, DatasetDict)
        return found

    def _named(self, split: str, table: Dataset, origin: str) -> Raw:
        """Return the rows of a split with the names of the labels in place of their numbers."""
        revision = _revision(table)
        feature = table.features.get(self.label_column)
        if hasattr(feature, "int2str"):
            words = []
            for row, number in enumerate(table[self.label_column], start=1):
                if number == -1:
                    raise StageError(
                        f"data.{split}: {origin} row {row}: label is hidden (-1); choose a split "
                        "with labels, or null to take rows of the training rows"
                    )
                words.append(None if number is None else feature.int2str(number))
            table = table.remove_columns(self.label_column)
            table = table.add_column(self.label_column, words)
        return Raw(table, origin, revision=revision)


def _revision(table: Dataset) -> str | None:
    """Return the commit that the rows are of: `datasets` caches them in a folder of that name."""
    files = table.cache_files
    return Path(files[0]["filename"]).parent.name if files else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
