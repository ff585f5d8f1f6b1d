"""Rows from a data set on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.data.table import SPLITS, Columns, Raw
from pipeline.errors import StageError, among

__all__ = ["Hub"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub(Columns):
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
        from datasets import DatasetDict, load_dataset

        try:
            found = load_dataset(self.repo_id, self.config_name, revision=self.revision)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise StageError(
                f"data.repo_id: {self.repo_id!r} is neither in the local cache nor to be had from "
                f"the hub: {reason}"
            ) from error
        assert isinstance(found, DatasetDict)
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
            table = found[name]
            feature = table.features.get(self.label_column)
            if hasattr(feature, "int2str"):  # numbers with names: keep the names
                words = [feature.int2str(number) for number in table[self.label_column]]
                table = table.remove_columns(self.label_column)
                table = table.add_column(self.label_column, words)
            raws[split] = Raw(table, f"{self.repo_id} ({name})")
        return raws
