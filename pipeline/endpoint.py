"""Which hub is asked: another than Hugging Face's own, set in the environment, is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pipeline.scrub import scrub

__all__ = ["OFFICIAL", "other_hub"]

OFFICIAL = "https://huggingface.co"


def other_hub(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the address that models and data come from if it is not `OFFICIAL`.

    Args:
        environ: Environment variables; None is this process's own.
    """
    known = os.environ if environ is None else environ
    if known.get("HUGGINGFACE_CO_STAGING", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "the hub's staging server (HUGGINGFACE_CO_STAGING)"
    address = known.get("HF_ENDPOINT", OFFICIAL).rstrip("/")
    return None if address == OFFICIAL else scrub(address or "no address (HF_ENDPOINT is empty)")
