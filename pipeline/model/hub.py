"""A model on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import BaseModel
from pipeline.errors import StageError
from pipeline.model.folder import Source, from_folder

__all__ = ["Hub"]

_SECONDS = 10.0
"""How long the hub may take to answer which commit a revision is."""
_WANTED = ["*.json", "*.txt", "*.model", "merges.txt", "*.jinja"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub(Source):
    """A model by its id; a revision is resolved to the commit, which the record keeps."""

    repo_id: str
    """Such as `google-bert/bert-base-uncased`."""
    revision: str
    """Branch, tag or commit."""
    allow_pickle: bool

    def run(self, given: None, folder: Path) -> BaseModel:
        source = self._download()
        return from_folder(
            source,
            folder,
            told=f"{self.repo_id}@{source.name}",  # a snapshot's folder is named by its commit
            name=self.repo_id,
            repo_id=self.repo_id,
            revision=source.name,
            task=self.task,
            dropout=self.dropout,
            weights=self.weights,
            allow_pickle=self.allow_pickle,
        )

    def _download(self) -> Path:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
        from huggingface_hub.errors import HFValidationError as InvalidId

        wanted = [*_WANTED, *self._weight_files()]
        try:
            # Asked first, with a limit: the download itself would try for minutes.
            told = HfApi().model_info(self.repo_id, revision=self.revision, timeout=_SECONDS)
            commit = told.sha
        except InvalidId as error:
            raise StageError(f"model.repo_id: {self.repo_id!r} is not a hub id: {error}") from error
        except HfHubHTTPError as error:
            commit, reason = None, f"the hub answers: {_first_line(error)}"
        except Exception as error:  # noqa: BLE001 - any failure to connect, whatever the client
            commit, reason = None, f"the hub cannot be reached ({type(error).__name__})"
        else:
            reason = "the download failed"
        try:
            return Path(
                snapshot_download(
                    self.repo_id,
                    revision=commit or self.revision,
                    allow_patterns=wanted,
                    local_files_only=commit is None,
                )
            )
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise StageError(
                f"model.repo_id: {self.repo_id!r} is not in the local cache and {reason}; check "
                "the name and the network, or use a model on this machine, such as model=minilm"
            ) from error

    def _weight_files(self) -> tuple[str, ...]:
        if self.weights == "none":
            return ()
        return ("*.safetensors", "*.bin") if self.allow_pickle else ("*.safetensors",)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
