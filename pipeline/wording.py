"""Say in our words what Hydra or OmegaConf found wrong: one line, the key first."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pipeline.errors import among
from pipeline.shipped import recipe_names

if TYPE_CHECKING:
    from omegaconf import Node

__all__ = ["one_line", "one_option"]

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
"""An interpolation of another key: `${adapter.r}`, not `${now:%Y}`."""
_MISSING = re.compile(
    r"In '(?P<where>[^']+)': Could not (?:load|find) '(?P<path>[^']+)'\.?"
    r"( Available options in '[^']+': (?P<options>.*?))? Config search path: "
)
_HYDRA_SAYS = (
    (r"Could not override '([^']+)'.*", r"\1: unknown key"),
    (r"Could not delete from config\. '([^']+)' does not exist\.", r"~\1: there is no \1"),
    (r"Could not delete from config\. The value of '([^']+)'.*", r"~\1: has another value"),
    (r"Could not delete '([^']+)'\. No match in the defaults list", r"~\1: there is no \1"),
    (r"Error merging override \W*([\w.]+)=(.*)", r"\1: cannot be \2"),
    (
        r"Multiple values for ([\w/]+)\. To override a value use 'override .*",
        r"\1: given twice; give it once",
    ),
    (r"([\w/]+) appears more than once in the final defaults list", r"\1: given twice"),
)


def one_line(error: Exception) -> str:
    """Return what is wrong, where, and what to do if that is known."""
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group}: no {group} {name!r}{among(name, error.options, 'Options')}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {_interpolation(error)}"
    said = " ".join(str(error).split())
    if missing := re.match(_MISSING, said):
        group, _, name = missing["path"].rpartition("/")
        listed = (missing["options"] or "").split()
        options = listed or (recipe_names() if group == "recipe" else [])
        where = "" if missing["where"] == "config" else f"{missing['where']}: its defaults list: "
        near = among(name, options, "Options") if options else ""
        return f"{where}{group}: no {group} {name!r}{near}"
    if comma := re.match(r"Ambiguous value for argument '\+*([\w./]+)=(.*?)' 1\. ", said):
        key, value = comma.groups()
        return (
            f"{key}: {value} has a comma; for a list write {key}=[{value}], for one text quote it: "
            f"'{key}=\"{value}\"', for a run of each add --multirun"
        )
    for pattern, ours in _HYDRA_SAYS:
        if re.fullmatch(pattern, said):
            return re.sub(pattern, ours, said)
    return said


def one_option(group: str, value: object, options: Collection[str]) -> str | None:
    """Say what is wrong with the option chosen from a group, if it is not even a name."""
    if isinstance(value, str):
        return None
    shown = "null" if value is None else str(value)
    return (
        f"{group}: choose one option by its name, such as {group}={min(options, default='NAME')}, "
        f"got {shown}{among(shown, options, 'Options')}"
    )


def _unreadable(override: str) -> str:
    shown = re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], override)
    key, equals, value = shown.lstrip("+~").partition("=")
    if not equals:
        return (
            f"cannot read {shown!r}: give KEY=VALUE, such as +recipe=lora_bert, or one of the "
            "commands open, compare, plan and clean"
        )
    return f"cannot read the override {key}={value}; quote its value: '{key}=\"{value}\"'"


def _interpolation(error: Exception) -> str:
    """Say why a value that refers to another has none."""
    key, root = getattr(error, "full_key", ""), _root(error)
    said = next(iter(str(error).splitlines()), "")
    if root is not None and (cycle := _cycle(root, key)):
        return f"config cycle: {' -> '.join(cycle)}; give one of them a value"
    if missing := re.search(r"Environment variable '(\w+)' not found", said):
        return f"the environment variable {missing[1]} is not set"
    if unknown := re.match(r"Interpolation key '([^']+)' not found", said):
        return f"refers to {unknown[1]}, which does not exist"
    if kind := re.match(r"Unsupported interpolation type (\w+)", said):
        return f"there is no ${{{kind[1]}:...}}; of the environment take ${{oc.env:NAME}}"
    return said


def _root(error: Exception) -> Mapping[str, Node] | None:
    parent = getattr(error, "parent_node", None)
    return None if parent is None else parent._get_root()


def _cycle(root: Mapping[str, Node], key: str) -> list[str]:
    """Return the keys that refer to one another, the first of them again at the end."""
    from omegaconf import OmegaConf

    def refers_to(key: str) -> list[str]:
        parent, _, name = key.rpartition(".")
        holder = OmegaConf.select(root, parent) if parent else root  # type: ignore[arg-type]
        if not hasattr(holder, "_get_node"):
            return []
        node = holder._get_node(name, validate_access=False)
        return _REFERENCE.findall(str(node._value())) if node is not None else []

    def search(path: list[str]) -> list[str]:
        for other in refers_to(path[-1]):
            if other in path:
                return [*path[path.index(other) :], other]
            if found := search([*path, other]):
                return found
        return []

    return search([key])
