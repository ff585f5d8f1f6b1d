"""Turn the composed config into a checked `Plan`: all mistakes at once, before torch loads."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from pipeline.allowed import target_problems, why_not_allowed
from pipeline.consent import KEY
from pipeline.errors import ConfigError, nearest
from pipeline.launch import trains
from pipeline.pointers import pointer
from pipeline.shipped import recipe_names
from pipeline.stage import Plan
from pipeline.tasks import why_untrainable
from pipeline.values import UNSET, first_line, made_of

__all__ = ["build_plan", "build_stage"]

_ABOUT_THE_RUN = {"name", "seed", "reuse"}
_LONGEST_NAME = 200
_STAGES = tuple(field.name for field in fields(Plan))


def build_plan(config: Mapping[str, Any], consent: Sequence[str] = ()) -> Plan:
    """Build every stage before the first one runs, so a typing mistake costs a second.

    Args:
        config: Composed and resolved.
        consent: Packages of the user's own whose classes may be imported.

    Raises:
        ConfigError: Lists every problem found, each with the key it belongs to.
    """
    problems = _about_the_run(config)
    forbidden = target_problems(config, consent)
    problems += [each for found in forbidden.values() for each in found]
    stages: dict[str, Any] = {}
    seed = config.get("seed")
    for name in _STAGES:
        node = config.get(name)
        if not isinstance(node, Mapping) or "_target_" not in node:
            problems.append(f"{name}: missing; choose one with {name}=<option> (see --help)")
            continue
        if name in forbidden:
            continue
        try:
            if "seed" in node and node["seed"] == seed and not _is_seed(seed):
                node = {**node, "seed": 0}  # ${seed}: one mistake, said once
            stages[name] = build_stage(name, node, consent)
        except ConfigError as error:
            problems.append(str(error))
    if not problems and trains(stages["finetune"]):
        problems += _untrainable(stages["model"])
    if problems:
        raise ConfigError("\n".join(problems))
    return Plan(**stages)


def _untrainable(model: object) -> list[str]:
    """Say now what the finetune stage would say after the others have run.

    A user's class for a model may have no weights to choose.
    """
    weights = getattr(model, "weights", "full") != "none"
    reason = why_untrainable(weights=weights)
    return [] if reason is None else [reason]


def build_stage(name: str, node: Mapping[str, Any], consent: Sequence[str] = ()) -> object:
    """Build the dataclass that `node["_target_"]` names from the other keys of `node`.

    Args:
        name: Of the group, which decides what may be named.
        node: Resolved.
        consent: Packages of the user's own whose classes may be imported.

    Raises:
        ConfigError: Lists every key that is unknown, missing or has an impossible value.
    """
    values = dict(node)
    cls = _stage_class(name, values.pop("_target_", None), consent)
    known = {field.name for field in fields(cls)}
    problems = [
        f"{name}.{key}: unknown key{_pointer(name, str(key), known)} "
        f"Known keys: {', '.join(sorted(known)) or 'none'}"
        for key in values
        if key not in known
    ]
    made, wrong = made_of(cls, name, {key: values[key] for key in values if key in known})
    if made is None or problems:
        raise ConfigError("\n".join([*problems, *wrong]))
    return made


def _about_the_run(config: Mapping[str, Any]) -> list[str]:
    known = {*_STAGES, *_ABOUT_THE_RUN}
    problems = []
    for key in config:
        if key == "recipe":
            problems.append(
                "recipe: read as a plain value, not as a recipe. Either its folder is not on the "
                "search path (try --info searchpath), or the first line of the recipe is not "
                "'# @package _global_'."
            )
        elif key == KEY:
            problems.append(f"{KEY}: only the command line can give it; remove it from the YAML")
        elif key not in known:
            problems.append(_unknown(str(key), config[key], {*known, "recipe"}))
    if config.get("name") in (None, "", UNSET):
        problems.append(
            "no recipe given; try `python -m pipeline +recipe=lora_bert` "
            f"(available: {', '.join(recipe_names())}), or name a run of your own with name=<name>"
        )
    elif not str(config["name"]).replace("-", "_").isidentifier():
        problems.append(
            f"name: must be letters, digits, '_' and '-', since it names a folder, "
            f"got {config['name']!r}"
        )
    elif (size := len(str(config["name"]).encode())) > _LONGEST_NAME:
        problems.append(
            f"name: must be at most {_LONGEST_NAME} bytes long, since it names a folder, got {size}"
        )
    if not _is_seed(seed := config.get("seed")):
        problems.append(f"seed: must be a whole number from 0 to 4294967295, got {seed!r}")
    if not isinstance(config.get("reuse"), bool):
        problems.append(f"reuse: must be true or false, got {config.get('reuse')!r}")
    return problems


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def _unknown(key: str, value: object, known: Collection[str]) -> str:
    """Say of a key at the top that it is unknown; of `train.epoch=3` the whole path."""
    path = [key]
    while isinstance(value, Mapping) and len(value) == 1 and not nearest(key, known):
        ((inner, value),) = value.items()
        path.append(str(inner))
    said = nearest(key, known) or _pointer(None, path[-1], known)
    return f"{'.'.join(path)}: unknown key{said} Known keys: {', '.join(sorted(known))}"


def _stage_class(name: str, target: object, consent: Sequence[str]) -> Any:
    if (reason := why_not_allowed(name, target, consent)) is not None:
        raise ConfigError(reason)
    module_name, _, class_name = str(target).rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may do anything
        why = first_line(error) if isinstance(error, ImportError) else _typed(error)
        raise ConfigError(f"{name}._target_: cannot import {module_name!r}: {why}") from error
    cls = getattr(module, class_name, None)
    if cls is None:
        names = [each for each in vars(module) if is_dataclass(vars(module)[each])]
        raise ConfigError(
            f"{name}._target_: {module_name!r} has no {class_name!r}{nearest(class_name, names)}"
        )
    method = "place" if name == "launch" else "run"
    if not (isinstance(cls, type) and is_dataclass(cls) and hasattr(cls, method)):
        raise ConfigError(
            f"{name}._target_: {target} is not a stage: a dataclass with a method {method!r}"
        )
    return cls


def _pointer(stage: str | None, key: str, known: Collection[str]) -> str:
    said = pointer(stage, key, known)
    return said if said.endswith("?") else f"{said}."


def _typed(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
