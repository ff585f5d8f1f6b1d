"""The user's consent to run code of their own: `allow_code=my_package`, on the command line alone.

It is taken off the command line before Hydra sees it, so no YAML can give it. Only with it can a
module in the current folder be imported at all. Standard library only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError

__all__ = [
    "KEY",
    "allows",
    "forget_consent",
    "forget_current_folder",
    "granted",
    "keep_consent",
    "look_in_current_folder",
    "take_consent",
]

KEY = "allow_code"

_GIVEN = re.compile(rf"[+]{{0,2}}{KEY}=(.*)", re.DOTALL)
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_KEPT = "GRAFT_ALLOWED_CODE"
"""For this process and those that it starts; what a user sets it to is forgotten."""
_HOME = Path(__file__).resolve().parent.parent
"""Where this package lies: a checkout, or site-packages."""


def take_consent(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the names in `allow_code=my_package`, and the other arguments.

    Raises:
        ConfigError: What is given is not the name of a module.
    """
    names: dict[str, None] = {}
    others = []
    for argument in arguments:
        given = _GIVEN.fullmatch(argument)
        if given is None:
            others.append(argument)
            continue
        value = given.group(1).strip()
        listed = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        for name in (each.strip() for each in listed.split(",")):
            if not _MODULE.fullmatch(name):
                raise ConfigError(
                    f"{KEY}: must be names of packages or modules, such as {KEY}=my_package, "
                    f"got {value!r}"
                )
            names[name] = None
    return tuple(names), others


def allows(consent: Sequence[str], target: str) -> bool:
    """Whether `target` lies in one of the packages: `my_stages.Mine` does in `my_stages`."""
    return any(target.startswith(f"{name}.") for name in consent)


def keep_consent(consent: Sequence[str]) -> None:
    """Let `granted` return these names, here and in the processes that this one starts."""
    os.environ[_KEPT] = ",".join(consent)


def forget_consent() -> None:
    """Let `granted` return nothing: only a command line can give consent, no environment."""
    os.environ.pop(_KEPT, None)


def granted() -> tuple[str, ...]:
    """Return the packages and modules whose code the user let this run import."""
    return tuple(filter(None, os.environ.get(_KEPT, "").split(",")))


def forget_current_folder() -> None:
    """Take the current folder, which `python -m` puts first, off the path of imports.

    A file there could stand in for any library. A checkout is run from its own folder and stays.
    """
    here = Path.cwd().resolve()
    if here != _HOME:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != here]


def look_in_current_folder() -> None:
    """Let modules of the current folder be imported, after all that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
