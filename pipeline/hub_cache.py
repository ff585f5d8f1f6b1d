"""Where downloads from the Hugging Face hub are kept on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.errors import MachineError

__all__ = ["assert_cache_can_be_written"]


def assert_cache_can_be_written() -> None:
    """Try it; to be asked when something is not in the cache, which may well be read-only.

    Raises:
        MachineError: It cannot; the message names the variable to set.
    """
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MachineError(
            f"the cache {folder} cannot be written ({error.strerror}); set HF_HOME to a folder "
            "that can"
        ) from error
