"""Put an adapter of any of PEFT's kinds into a model, with settings by PEFT's names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import peft

from pipeline.adapter.derived import check_room, derived
from pipeline.adapter.presets import PRESETS, ends_of, preset, shown
from pipeline.adapter.ranks import check_ranks, check_widths
from pipeline.adapter.targets import check_adapted, check_names, unsupported
from pipeline.errors import StageError
from pipeline.without_values import without_values

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

    from pipeline.adapter.start import Start
    from pipeline.placement import Placement

__all__ = ["check_result", "inserted", "resolved"]

log = logging.getLogger(__name__)

_KINDS = {
    cls.__name__: (str(kind.value), cls) for kind, cls in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()
}
_NAMES = ("target_modules", "feedforward_modules")


def resolved(values: Mapping[str, Any], start: Start) -> dict[str, Any]:
    """Return the settings with each preset replaced by the ends of names that it stands for.

    Raises:
        StageError: A preset or a name matches no module.
    """
    model = start.model
    found = {key: _plain(value) for key, value in values.items()}
    for key in _NAMES:
        if isinstance(name := found.get(key), str) and name in PRESETS:
            found[key] = ends_of(preset(name, model, start.head, key), model)
            log.info("    %s %s: %s", key, name, ", ".join(shown(found[key])))
    if isinstance(more := found.get("feedforward_modules"), list):
        known = found["target_modules"]
        if isinstance(known, list):  # PEFT wants the ones among the others
            found["target_modules"] = list(dict.fromkeys([*known, *more]))
    check_names(
        model,
        found.get("target_modules") or (),
        found.get("exclude_modules"),
        found.get("modules_to_save"),
    )
    return found


def inserted(config: str, values: Mapping[str, Any], start: Start) -> PeftModel:
    """Put the adapter in.

    Args:
        config: Name of the class of PEFT's config.
        values: Its settings, `resolved`.
        start: The model, which is changed.

    Raises:
        StageError: PEFT refuses the layer types, or settings that exclude one another; or a size
            is beyond the model's.
    """
    kind, cls = _KINDS[config]
    low_rank = issubclass(cls, peft.LoraConfig)
    key = "init_r" if "init_r" in values else "r"
    ranks = {key: values[key]} if values.get(key) else {}
    check_widths(start.model, {**ranks, **values.get("rank_pattern", {})}, low_rank=low_rank)
    if "num_virtual_tokens" in values:
        check_room(start.model, values["num_virtual_tokens"], start.examples.longest)
    further = _further(kind, {field.name for field in fields(cls)}, values, start)
    with _refusals(kind, values, start):
        settings = cls(**{**values, **further}, task_type=start.task.peft_task_type)
        put = without_values if start.on_meta else peft.get_peft_model
        model: PeftModel = put(start.model, settings)
    if low_rank:
        check_ranks(model, key)
    _forget_the_text(settings)
    return model


def check_result(values: Mapping[str, Any], placement: Placement) -> None:
    """Refuse settings that touch none of the modules that were adapted in the end.

    Args:
        values: As they were given to PEFT.
        placement: What it made of them.

    Raises:
        StageError: Names the setting; or nothing was adapted at all.
    """
    if not placement.adapted:
        raise StageError(
            f"adapter.target_modules: none of the layers named can carry {placement.kind}; PEFT "
            "skips them without a word. Choose other layers, or another adapter"
        )
    check_adapted(
        [module.name for module in placement.adapted],
        values.get("target_modules") or "",
        values.get("layers_to_transform"),
        {k: v for k, v in values.items() if k.endswith("_pattern") and isinstance(v, Mapping)},
    )


def _plain(value: Any) -> Any:
    """Return lists and dicts, which PEFT expects, for what a frozen stage has."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _further(kind: str, known: set[str], values: Mapping[str, Any], start: Start) -> dict[str, Any]:
    """Return the settings that are no choice: they follow from the model, or from the training."""
    found = derived(kind, known, start.model, start.base.folder)
    if "modules_to_save" in known and start.head:
        found["modules_to_save"] = [*(values.get("modules_to_save") or ()), *start.head]
    if "progressbar" in known:
        found["progressbar"] = False
    if kind == "ADALORA":
        found["total_step"] = values["tinit"] + values["tfinal"] + 1  # until finetune sets its own
    return found


@contextmanager
def _refusals(kind: str, values: Mapping[str, Any], start: Start) -> Iterator[None]:
    """Turn PEFT's errors into ours: it has none of its own."""
    targets, excluded = values.get("target_modules"), values.get("exclude_modules")
    try:
        yield
    except StageError:
        raise
    except Exception as error:
        if kind == "LORA" and (told := unsupported(start.model, targets or (), excluded)):
            raise StageError(f"adapter.target_modules: {told}") from error
        if str(error).startswith("No modules were targeted"):
            raise StageError(
                "adapter: nothing is left to adapt: what target_modules names is excluded "
                "(exclude_modules), trains in full (modules_to_save, and the head always), or "
                "lies in no block of layers_to_transform"
            ) from error
        if targets is None and "target_modules" in str(error):
            raise StageError(
                f"adapter.target_modules: PEFT has no choice of its own for {kind} in "
                f"{type(start.model).__name__}; name a preset or modules, such as "
                "adapter.target_modules=attention"
            ) from error
        said = " ".join(str(error).split()) or type(error).__name__
        raise StageError(
            f"adapter: {kind} does not fit {type(start.model).__name__}: {said}"
        ) from error


def _forget_the_text(settings: PeftConfig) -> None:
    """Let a prompt that started from a text be loaded without it: its values are saved."""
    if hasattr(settings, "tokenizer_name_or_path"):
        settings.tokenizer_name_or_path = None
    if hasattr(settings, "prompt_tuning_init_text"):
        settings.prompt_tuning_init_text = None
        settings.prompt_tuning_init = "RANDOM"
