"""Which commit a revision on the Hugging Face hub is, now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pipeline.errors import StageError
from pipeline.hub_cache import assert_cache_can_be_written

__all__ = ["commit_of", "known_commit"]

_SECONDS = 5.0
"""How long the hub may take to answer: a download itself would try for minutes."""


def commit_of(
    repo_id: str, revision: str, kind: Literal["model", "dataset"]
) -> tuple[str | None, str]:
    """Ask the hub for the commit; None if it does not say, and why in a few words.

    Raises:
        StageError: That is no id of the hub.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision, "the download failed"
    try:
        told = HfApi().repo_info(repo_id, revision=revision, repo_type=kind, timeout=_SECONDS)
    except HFValidationError as error:
        group = "model" if kind == "model" else "data"
        raise StageError(
            f"{group}.repo_id: {repo_id!r} is not a hub id: {_one_line(error)}"
        ) from error
    except HfHubHTTPError as error:
        return None, f"the hub answers: {_one_line(error)}"
    except Exception as error:  # noqa: BLE001 - any failure to connect, whatever the client
        return None, f"the hub cannot be reached ({type(error).__name__})"
    return told.sha, "the download failed"


def known_commit(repo_id: str, revision: str, kind: Literal["model", "dataset"]) -> str:
    """Return the commit, as the hub says, or else as it was when last downloaded.

    Raises:
        StageError: Neither knows it.
        MachineError: Nothing can be downloaded either: the cache cannot be written.
    """
    from huggingface_hub import constants

    commit, reason = commit_of(repo_id, revision, kind)
    if commit is not None:
        return commit
    folder = f"{kind}s--{repo_id.replace('/', '--')}"
    try:
        return (Path(constants.HF_HUB_CACHE) / folder / "refs" / revision).read_text().strip()
    except OSError as error:
        assert_cache_can_be_written()
        group = "model" if kind == "model" else "data"
        raise StageError(
            f"{group}.repo_id: {repo_id!r} is not in the local cache and {reason}; check the name "
            "and the network"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
