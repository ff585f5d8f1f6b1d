"""Rows from a data set on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commits import known_commit
from pipeline.data.drawn import Drawn
from pipeline.data.named import with_names
from pipeline.data.table import SPLITS
from pipeline.errors import StageError, among
from pipeline.hub_cache import assert_cache_can_be_written
from pipeline.rows import Raw, Rows
from pipeline.seal import sha256

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["Hub"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub(Drawn):
    """A data set by its id. Data only: the hub's loading scripts are never run.

    Names of labels are kept, also those in lists.

    To look at it is to download it once, as `run` would: its labels are in its rows.
    """

    repo_id: str
    """Such as `nyu-mll/glue`; or a folder of this machine in the layout of the hub."""
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
            raws[split] = self._raw(split, found[name], f"{self.repo_id} ({name})")
        return raws

    def reads(self) -> Mapping[str, str]:
        """Return the commit of the data set; of a folder, the sha256 of each file in it."""
        folder = Path(self.repo_id)
        if folder.is_dir():
            files = (file for file in sorted(folder.absolute().rglob("*")) if file.is_file())
            return {str(file): sha256(file) for file in files}
        commit = known_commit(self.repo_id, self.revision or "main", "dataset")
        return {f"datasets/{self.repo_id}": commit}

    def _fetch(self) -> DatasetDict:
        from datasets import DatasetDict, load_dataset
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # of its client

        try:
            found = load_dataset(self.repo_id, self.config_name, revision=self.revision)
        except (OSError, HTTPError) as error:  # no network, no such data set or revision
            assert_cache_can_be_written()
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

    def _raw(self, split: str, table: Dataset, origin: str) -> Raw:
        names = tuple(table.column_names)
        columns = {}
        for name in self.wanted:
            if name in names:
                try:
                    columns[name] = with_names(list(_saved(table, name)), table.features[name])
                except ValueError as error:
                    raise StageError(f"data.{split}: {origin} {error}") from error
        rows = Rows(names=names, columns=columns, places=range(1, len(table) + 1))
        return Raw(rows=rows, key=f"data.{split}", origin=origin, revision=_revision(table))


def _saved(table: Dataset, name: str) -> Sequence[object]:
    """Return the values of a column; images as they were saved, not decoded."""
    from datasets import Image

    if isinstance(table.features[name], Image):
        table = table.cast_column(name, Image(decode=False))
    column: Sequence[object] = table[name]
    return column


def _revision(table: Dataset) -> str | None:
    """Return the commit that the rows are of: `datasets` caches them in a folder of that name."""
    files = table.cache_files
    return Path(files[0]["filename"]).parent.name if files else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
