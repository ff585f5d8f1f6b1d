"""The values of a stage's keys: the stage itself, or a sentence for each key that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError

from pipeline.errors import PipelineError, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["UNSET", "first_line", "made_of"]

UNSET = "???"
"""How YAML and Hydra write a value that the user must give."""

_KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "path_type": "a path",
}
"""Types of pydantic's errors, and what would have been right."""


def made_of(cls: Any, name: str, values: Mapping[str, Any]) -> tuple[object | None, list[str]]:
    """Return the stage made of `values`, or what is wrong with them: one line a key.

    Args:
        cls: Class of the stage.
        name: Of its group, with which every line begins.
        values: By key; all are fields of the class.
    """
    wrong = dict(_wrong_at_sight(cls, name, values))
    told: list[str] = []
    try:
        made: object = TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        by_key = groupby(error.errors(), key=lambda item: item["loc"][:1])
        told = [line for _, items in by_key for line in _in_words(name, list(items))]
    except PipelineError as error:
        told = str(error).splitlines()
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        told = [f"{name}._target_: cannot check {cls.__qualname__}: {first_line(error)}"]
    else:
        return (made, []) if not wrong else (None, list(wrong.values()))
    said = {f"{name}.{key}" for key in wrong}
    others = [line for line in told if line.partition(" ")[0].rstrip(":") not in said]
    return None, [*wrong.values(), *others]


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).splitlines()), "")


def _wrong_at_sight(cls: Any, name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys whose values are missing or empty, or of a type that pydantic lets pass."""
    try:
        hints = get_type_hints(cls)
    except NameError:  # an annotation that means nothing: pydantic has words for it
        hints = {}
    for key, value in values.items():
        path = f"{name}.{key}"
        if value == UNSET:
            yield key, f"{path}: not set; give it with {path}=<value>"
        elif value == "" or (isinstance(value, list | tuple) and "" in value):
            yield key, f"{path}: empty value; give one, or leave {path} out"
        elif key in hints and _was_no_number(value, _alone(hints[key], value)):
            several = isinstance(value, list | Mapping)
            text = "text " if isinstance(value, str) else ""
            should = "numbers" if several else "a number"
            yield key, f"{path}: should be {should}, got {text}{value!r}"


def _alone(hint: Any, value: object) -> object:
    """Return what a value becomes by its key's type; itself if it has no such type."""
    if not isinstance(value, bool | str | list | tuple | Mapping):
        return value
    try:
        return TypeAdapter(hint).validate_python(value)
    except (ValidationError, PydanticUserError):
        return value


def _was_no_number(given: object, made: object) -> bool:
    """Whether a text, `true` or `false` was taken for a number."""
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        return any(_was_no_number(value, made.get(key, value)) for key, value in given.items())
    if isinstance(given, list | tuple) and isinstance(made, list | tuple):
        return any(map(_was_no_number, given, made))
    number = isinstance(made, int | float) and not isinstance(made, bool)
    return isinstance(given, bool | str) and number


def _in_words(name: str, items: Sequence[ErrorDetails]) -> list[str]:
    """Return the lines about one key: one, or those of the stage's own check."""
    item = items[0]
    if item["type"] == "value_error":  # raised by the stage's own __post_init__
        where = ".".join([name, *map(str, item["loc"])])
        return [f"{where}.{line}" for line in str(item["ctx"]["error"]).splitlines()]
    where = ".".join([name, *(str(part) for part in item["loc"][:1])])
    if item["type"] == "missing":
        return [f"{where}: missing"]
    if len(items) > 1 and not any(isinstance(each["loc"][1], int) for each in items):
        return [_of_a_union(where, items)]
    got = item["input"]
    if item["type"] in ("tuple_type", "list_type"):
        return [f"{where}: should be a list, such as [{got}], got {got!r}"]
    said = f"{where}: {item['msg'].removeprefix('Input ')}, got {got!r}"
    return [said + nearest(str(got), _choices(item))]


def _of_a_union(where: str, items: Sequence[ErrorDetails]) -> str:
    """Say in one line what a key that may be of several types can be."""
    item = min(items, key=lambda each: len(each["loc"]))
    kinds = dict.fromkeys(
        _KINDS.get(each["type"]) or each.get("ctx", {}).get("expected") or each["msg"]
        for each in items
    )
    near = nearest(str(item["input"]), [name for each in items for name in _choices(each)])
    return f"{where}: should be {' or '.join(kinds)}, got {item['input']!r}{near}"


def _choices(item: ErrorDetails) -> list[str]:
    expected = item.get("ctx", {}).get("expected", "") if item["type"] == "literal_error" else ""
    return re.findall(r"'([^']*)'", expected)
