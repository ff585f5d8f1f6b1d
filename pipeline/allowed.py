"""Which classes a config may name: ours, by their exact names; a user's own with their consent.

A class is imported only after its name was found in the list, so a config that names anything else
runs no code. The list of a group is what the shipped `configs/GROUP/*.yaml` name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pipeline.consent import KEY, allows
from pipeline.errors import among, nearest
from pipeline.shipped import shipped_folder

__all__ = ["shipped_targets", "target_problems", "why_not_allowed"]

TARGET = "_target_"
_SHOWN = 8
"""Classes that are listed; of more of them, what they have in common is said."""

_SHORTHAND = ("_args_", "_partial_", "_recursive_", "_convert_", "()")
"""Other keys that make Hydra, or Python's logging, call something."""
_NAMED = re.compile(rf"^{TARGET}: *(\S+)", re.MULTILINE)


@cache
def shipped_targets(group: str) -> tuple[str, ...]:
    """Return the classes that the shipped options of a group name, sorted; () of no group."""
    files = shipped_folder("configs").glob(f"{group}/*.yaml") if group.isidentifier() else ()
    texts = (file.read_text(encoding="utf-8") for file in files)
    return tuple(sorted({name for text in texts for name in _NAMED.findall(text)}))


def why_not_allowed(group: str, target: object, consent: Sequence[str]) -> str | None:
    """Return why the stage `group` may not be of the class `target`; None when it may."""
    where = f"{group}.{TARGET}"
    if not isinstance(target, str) or "${" in target or "." not in target:
        return f"{where}: must be the plain path of a class, got {target!r}"
    known = shipped_targets(group)
    if target in known or allows(consent, target):
        return None
    root = target.partition(".")[0]
    ours = root == "pipeline" or root in sys.stdlib_module_names or not root.isidentifier()
    own = "" if ours else (
        f"; a class of your own needs {KEY}={root} on the command line, which runs its code"
    )  # fmt: skip
    allowed = among(target, known, "Allowed")
    if len(known) > _SHOWN:
        near = nearest(target, known) or "."
        allowed = f"{near} Allowed: the classes of {group}=<option>, such as {known[0]}"
    return f"{where}: {target!r} is not allowed{allowed}{own}"


def target_problems(config: Mapping[str, Any], consent: Sequence[str]) -> dict[str, list[str]]:
    """Return what the config names and may not, by top-level key, anywhere in its tree.

    Args:
        config: Plain dicts and lists, resolved or not.
        consent: Packages of the user's own.
    """
    found: dict[str, list[str]] = {}
    for group, node in config.items():
        problems = []
        own = False
        if isinstance(node, Mapping) and TARGET in node:
            target = node[TARGET]
            reason = why_not_allowed(str(group), target, consent)
            problems += [] if reason is None else [reason]
            own = reason is None and target not in shipped_targets(str(group))
        problems += _below(str(group), node, consent, own=own, top=True)
        if problems:
            found[str(group)] = problems
    return found


def _below(
    where: str, node: object, consent: Sequence[str], *, own: bool, top: bool = False
) -> Iterator[str]:
    """Look below a stage; a class of the user's may use Hydra's keys as it likes, with consent."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            path = f"{where}.{key}"
            if key in _SHORTHAND and not own:
                yield f"{path}: a config names classes, it does not call them; remove it"
            elif key == TARGET and not top:
                if not (own and isinstance(value, str) and allows(consent, value)):
                    yield f"{path}: only a stage is made from a class, nothing in it; remove it"
            else:
                yield from _below(path, value, consent, own=own)
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _below(f"{where}[{number}]", value, consent, own=own)
