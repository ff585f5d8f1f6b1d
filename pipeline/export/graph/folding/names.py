"""Short names, as they stand in a node of the picture."""

from __future__ import annotations

from pipeline.export.graph.scopes import Scope

__all__ = ["adapter_title", "formal_name", "formal_name_in_adapter"]


def adapter_title(scope: Scope) -> str:
    """Name an adapter after kind and class: `peft.tuners.lora.layer.Linear` is LoraLinear."""
    kind = "".join(word.capitalize() for word in scope.type.split(".")[2].split("_"))
    told = scope.class_name.lower().startswith(kind.lower())
    return scope.class_name if told else f"{kind}{scope.class_name}"


def formal_name(weight: str, path: str) -> str:
    """Name the input of a shared function that takes `weight` of the module at `path`.

    A weight from elsewhere, such as a tied one, keeps the last part of its name only.
    """
    if "." not in weight:
        return "constant"  # an exporter's number differs from call to call
    if not weight.startswith(f"{path}."):
        return weight.rpartition(".")[2]
    parts = weight.removeprefix(f"{path}.").split(".")
    return ".".join(parts[2:] if parts[0] == "modules_to_save" else parts)


def formal_name_in_adapter(weight: str, path: str, adapter: str) -> str:
    """Name the same in a layer of PEFT: `weight`, `bias`, `lora_A`, `lora_B`."""
    named = ".".join(part for part in weight.split(".") if part != adapter)
    parts = formal_name(named, path).split(".")
    if parts[0] == "base_layer":
        return ".".join(parts[1:])
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "weight" else parts)
