"""A model on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.commits import commit_of, known_commit
from pipeline.errors import StageError
from pipeline.hub_cache import assert_cache_can_be_written
from pipeline.model.folder import READ, Source, from_folder

__all__ = ["Hub"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub(Source):
    """A model by its id; a revision is resolved to the commit, which the record keeps."""

    repo_id: str
    """Such as `google-bert/bert-base-uncased`."""
    revision: str
    """Branch, tag or commit."""
    allow_pickle: bool

    def run(self, given: None, folder: Path) -> BaseModel:
        source, _ = self._download(self._weight_files())
        return self._made(source, folder, asked=self, look=False)

    def look(self, given: None, folder: Path) -> BaseModel:
        """Do what `run` does, as far as the cache goes.

        Of a model that is not in it, config and tokenizer are fetched, and no weights.
        """
        source, online = self._download(())
        cached = any(list(source.glob(pattern)) for pattern in self._weight_files())
        later = Source(task=self.task, dropout=self.dropout, weights="none")
        asked = later if online and not cached else self
        return self._made(source, folder, asked=asked, look=True)

    def reads(self) -> Mapping[str, str]:
        """Return the commit: what is in the cache is named by what is in it."""
        return {self.repo_id: known_commit(self.repo_id, self.revision, "model")}

    def _made(self, source: Path, folder: Path, *, asked: Source, look: bool) -> BaseModel:
        return from_folder(
            source,
            folder,
            told=f"{self.repo_id}@{source.name}",  # a snapshot's folder is named by its commit
            name=self.repo_id,
            repo_id=self.repo_id,
            revision=source.name,
            asked=asked,
            allow_pickle=self.allow_pickle,
            look=look,
        )

    def _download(self, weights: tuple[str, ...]) -> tuple[Path, bool]:
        """Return the folder with the files, and whether the hub can be asked for more."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )

        commit, reason = commit_of(self.repo_id, self.revision, "model")
        try:
            folder = snapshot_download(
                self.repo_id,
                revision=commit or self.revision,
                allow_patterns=[*READ, *weights],
                local_files_only=commit is None,
            )
        except HFValidationError as error:
            raise StageError(f"model.repo_id: {self.repo_id!r} is not a hub id: {error}") from error
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            assert_cache_can_be_written()
            raise StageError(
                f"model.repo_id: {self.repo_id!r} is not in the local cache and {reason}; check "
                "the name and the network, or use a model on this machine, such as model=minilm"
            ) from error
        return Path(folder), commit is not None

    def _weight_files(self) -> tuple[str, ...]:
        if self.weights == "none":
            return ()
        return ("*.safetensors", "*.bin") if self.allow_pickle else ("*.safetensors",)
