"""Whether files of weights fit a model: said from their headers, and again when they are read."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

__all__ = [
    "check_finite",
    "check_header",
    "check_report",
    "of_labels",
    "outside_body",
    "shapes",
]

_FLOATS = ("F64", "F32", "F16", "BF16")
_COUNTS = ("I64", "I32", "BOOL")  # positions and masks that some models save


def shapes(files: Iterable[Path], group: str = "model") -> dict[str, Tensor]:
    """Return what the headers of files say, as tensors on torch's meta device: no value is read.

    Raises:
        StageError: A file is damaged, or holds compressed weights; the message starts with `group`
            and names it.
    """
    found: dict[str, Tensor] = {}
    for file in files:
        read = _in_safetensors if file.suffix == ".safetensors" else _in_pickle
        found |= read(file, group)
    return found


def _in_safetensors(file: Path, group: str) -> dict[str, Tensor]:
    import torch
    from safetensors import SafetensorError, safe_open

    found = {}
    try:
        with safe_open(file, framework="numpy") as stream:  # torch would map all of it at once
            for name in stream.keys():  # noqa: SIM118 - it is no mapping
                part = stream.get_slice(name)
                if (kind := part.get_dtype()) not in (*_FLOATS, *_COUNTS):
                    raise StageError(
                        f"{group}: {file}: the weight {name} is compressed ({kind}), which cannot "
                        "be fine-tuned here; get the weights in float32, float16 or bfloat16"
                    )
                dtype = torch.float32 if kind in _FLOATS else torch.int64
                found[name] = torch.empty(part.get_shape(), dtype=dtype, device="meta")
    except (SafetensorError, OSError) as error:
        raise StageError(f"{group}: {file} is damaged ({error}); get it again") from error
    return found


def _in_pickle(file: Path, group: str) -> dict[str, Tensor]:
    import pickle

    import torch

    try:  # only tensors and containers are made: what is in the file cannot run
        held = torch.load(file, map_location="meta", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise StageError(
            f"{group}: {file} is damaged, or more than weights ({said[0]}); get the weights as "
            "safetensors"
        ) from error
    if not isinstance(held, dict):
        raise StageError(f"{group}: {file} holds a {type(held).__name__}, not weights by name")
    return {name: value for name, value in held.items() if isinstance(value, torch.Tensor)}


def check_header(model: PreTrainedModel, files: Sequence[Path], *, new_head: bool) -> None:
    """Refuse files that `check_report` would refuse once they are loaded; no weight is read.

    Args:
        model: Of the class that will load them, on the meta device.
        files: All that will be loaded.
        new_head: See `check_report`.

    Raises:
        StageError: As `check_report`; or a file is damaged.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    # transformers itself decides which name in a file stands for which parameter.
    _, report = type(model).from_pretrained(
        None,
        config=model.config,
        state_dict=shapes(files),
        device_map={"": "meta"},
        dtype="float32",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    check_report(model, report, files[0], new_head=new_head)


def check_report(
    model: PreTrainedModel, report: Mapping[str, Any], file: Path, *, new_head: bool
) -> None:
    """Refuse a model of which more than a new head is random.

    Args:
        model: Any of its class.
        report: What transformers says of the loading: missing and mismatched keys.
        file: The first that was loaded.
        new_head: Whether the head may be random; else every weight must be there.

    Raises:
        StageError: Weights are missing or have another shape; the message counts them and names
            the first.
    """
    mismatched = {name: (had, wants) for name, had, wants in report["mismatched_keys"]}
    ours = set(model.state_dict())
    free = outside_body(model, ours) if new_head else set()
    unfit = sorted({*report["missing_keys"], *mismatched} - free)
    if not unfit:
        return
    first, shape = unfit[0], ""
    if first in mismatched:
        had, wants = mismatched[first]
        shape = f", which has the shape {tuple(had)} and not {tuple(wants)} as config.json says"
    allowed = "Only a new head may start from random values" if new_head else "None may be random"
    raise StageError(
        f"model: {file} does not fit {type(model).__name__}: {len(unfit)} of its "
        f"{len(ours - free)} weights are missing or have another shape, first: {first}{shape}. "
        f"{allowed}; choose weights of this architecture"
    )


def outside_body(model: PreTrainedModel, names: Iterable[str]) -> set[str]:
    """Return the names of parameters that are not in the body, which is what was pretrained.

    Of a model that is all body, as those of timm are, what has another shape with one label more.
    """
    head: tuple[str, ...] | None = getattr(model, "head_modules", None)
    if head is not None:  # a user's own model has no body by name
        return {name for name in names if f"{name}.".startswith(tuple(f"{each}." for each in head))}
    body, every = f"{model.base_model_prefix}.", set(names)
    return {name for name in every if not name.startswith(body)} or every & of_labels(model)


def of_labels(model: PreTrainedModel) -> set[str]:
    """Return the names of parameters that have another shape, or exist only, with one label more.

    Args:
        model: Without adapters; on any device.
    """
    import torch

    config = copy.deepcopy(model.config)
    config.num_labels += 1
    with torch.device("meta"):
        other = type(model)._from_config(config)  # the one way to a model of the very same class
    changed = {name: value.shape for name, value in other.named_parameters()}
    return {name for name, value in model.named_parameters() if changed.get(name) != value.shape}


def check_finite(model: nn.Module, told: str) -> None:
    """Refuse weights that are not numbers: everything computed with them would not be either.

    Args:
        model: With its weights.
        told: Where they came from.

    Raises:
        StageError: Names the first weight that holds NaN or Inf, and how many there are.
    """
    import torch

    for name, value in model.state_dict().items():
        if not value.is_floating_point() or value.numel() == 0 or value.is_meta:
            continue
        low, high = value.aminmax()  # one pass, no copy; NaN wins
        if not (torch.isfinite(low) and torch.isfinite(high)):
            count = int((~torch.isfinite(value)).sum())
            kind = "NaN" if bool(value.isnan().any()) else "Inf"
            raise StageError(
                f"{told}: the weight {name} has {kind} ({count:,} of {value.numel():,} values are "
                "not finite); get the weights again, or choose others"
            )
