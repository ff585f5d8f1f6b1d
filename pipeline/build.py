"""Turn the composed config into a checked `Plan`: all mistakes at once, before torch loads."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError

from pipeline.errors import ConfigError, PipelineError, among, nearest
from pipeline.launch import trains
from pipeline.shipped import recipe_names, shipped_folder
from pipeline.stage import Plan
from pipeline.tasks import why_untrainable

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["build_plan", "build_stage"]

_ABOUT_THE_RUN = {"name", "seed"}
_LONGEST_NAME = 200
_UNSET = "???"  # how YAML and Hydra write a value that the user must give
_STAGES = tuple(field.name for field in fields(Plan))


def build_plan(config: Mapping[str, Any]) -> Plan:
    """Build every stage before the first one runs, so a typing mistake costs a second.

    Raises:
        ConfigError: Lists every problem found, each with the key it belongs to.
    """
    problems = _about_the_run(config)
    stages: dict[str, Any] = {}
    for name in _STAGES:
        if not isinstance(config.get(name), Mapping):
            problems.append(f"{name}: missing; choose one with {name}=<option> (see --help)")
            continue
        try:
            stages[name] = build_stage(name, config[name])
        except ConfigError as error:
            problems.append(str(error))
    if not problems and trains(stages["finetune"]):
        problems += _untrainable(stages["model"])
    if problems:
        raise ConfigError("\n".join(problems))
    return Plan(**stages)


def _untrainable(model: object) -> list[str]:
    """Say now what the finetune stage would say after the others have run.

    A user's class for a model may have neither a task nor weights to choose.
    """
    weights = getattr(model, "weights", "full") != "none"
    reason = why_untrainable(getattr(model, "task", ""), weights=weights)
    return [] if reason is None else [reason]


def build_stage(name: str, node: Mapping[str, Any]) -> object:
    """Build the dataclass that `node["_target_"]` names from the other keys of `node`.

    Raises:
        ConfigError: Lists every key that is unknown, missing or has an impossible value.
    """
    values = dict(node)
    cls = _stage_class(name, values.pop("_target_", None))
    known = {field.name for field in fields(cls)}
    problems = [
        f"{name}.{key}: unknown key{_elsewhere(name, str(key), known)}"
        f"{among(str(key), sorted(known), 'Known keys')}"
        for key in values
        if key not in known
    ]
    unset = [key for key, value in values.items() if value == _UNSET and key in known]
    problems += [f"{name}.{key}: not set; give it with {name}.{key}=<value>" for key in unset]
    try:
        built: object = TypeAdapter(cls).validate_python(
            {key: value for key, value in values.items() if key in known}
        )
    except ValidationError as error:
        problems += [
            _in_words(name, item) for item in error.errors() if not {*item["loc"]} & {*unset}
        ]
    except PipelineError as error:
        problems.append(str(error))
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        problems.append(f"{name}._target_: cannot check {cls.__qualname__}: {_first_line(error)}")
    else:
        problems += _from_bools(name, values, built)
        if not problems:
            return built
    raise ConfigError("\n".join(problems))


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
        elif key not in known:
            problems.append(f"{key}: unknown key{among(str(key), sorted(known), 'Known keys')}")
    if config.get("name") in (None, "", _UNSET):
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
    seed = config.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        problems.append(f"seed: must be a whole number from 0 to 4294967295, got {seed!r}")
    return problems


def _stage_class(name: str, target: object) -> Any:
    if not isinstance(target, str) or "." not in target:
        raise ConfigError(f"{name}._target_: must be the path of a class, got {target!r}")
    module_name, _, class_name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may do anything
        why = _first_line(error) if isinstance(error, ImportError) else _typed(error)
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


def _elsewhere(name: str, key: str, known: Collection[str]) -> str:
    """Say which other shipped options of the group have this key; or any group a longer one."""
    from omegaconf import OmegaConf

    keys = {
        file: [str(each) for each in OmegaConf.load(file)]
        for file in sorted(shipped_folder("configs").glob("*/*.yaml"))
    }
    having = [f.stem for f in keys if f.parent.name == name and key in keys[f]]
    if having:
        options = ", ".join(f"{name}={option}" for option in having)
        return f"; {options} {'has' if len(having) == 1 else 'have'} it"
    if nearest(key, known):
        return ""
    bare = key.replace("_", "")
    longer = [
        f"{file.parent.name}.{each}"
        for file in keys
        for each in keys[file]
        if len(bare) > 2 and bare in each.replace("_", "")  # `batchsize`, `epochs`, `alpha`
    ]
    return f"; perhaps {min(longer, key=len)!r}" if longer else ""


def _from_bools(name: str, values: Mapping[str, Any], built: object) -> list[str]:
    """Name each `true` or `false` that pydantic took for the number 1 or 0."""
    return [
        f"{name}.{key}: should be {'a number' if isinstance(value, bool) else 'numbers'}, "
        f"got {value!r}"
        for key, value in values.items()
        if _lost_a_bool(value, getattr(built, key, value))
    ]


def _lost_a_bool(given: object, made: object) -> bool:
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        return any(_lost_a_bool(value, made.get(key, value)) for key, value in given.items())
    if isinstance(given, list | tuple) and isinstance(made, list | tuple):
        return any(map(_lost_a_bool, given, made))
    return isinstance(given, bool) and not isinstance(made, bool)


def _typed(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _in_words(name: str, item: ErrorDetails) -> str:
    where = ".".join([name, *(str(part) for part in item["loc"] if isinstance(part, str))])
    if item["type"] == "value_error":  # raised by the stage's own __post_init__
        return f"{where}.{item['ctx']['error']}"
    if item["type"] == "missing":
        return f"{where}: missing"
    return f"{where}: {item['msg'].removeprefix('Input ')}, got {item['input']!r}"
