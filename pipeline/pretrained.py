"""Models in the layout of transformers, from a folder to torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.own import make_known

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["architecture", "config_of", "merged", "with_weights"]


def config_of(
    folder: Path, labels: Sequence[str] = (), problem_type: str | None = None
) -> PretrainedConfig:
    """Return the config in a folder, with these labels if there are any.

    Args:
        folder: With `config.json`.
        labels: In the order of the head's outputs.
        problem_type: How transformers calls what the outputs are, if it must be said.
    """
    from transformers import AutoConfig

    make_known(folder)
    config: PretrainedConfig = AutoConfig.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}
    if problem_type is not None:
        config.problem_type = problem_type
    return config


def with_weights(
    auto_class: str,
    config: PretrainedConfig,
    weights: Path,
    *,
    new_head: bool,
    quantization: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Return a model in eval mode, float32, on the CPU.

    Args:
        auto_class: Of transformers, such as `AutoModelForSequenceClassification`.
        config: With the labels of the head.
        weights: One of the files, all of which lie in its folder.
        new_head: Whether a head that the files lack may start from random values, of torch's
            global generator.
        quantization: How to round the weights to four bits, as `BitsAndBytesConfig` names it; the
            model is then on the GPU if there is one.

    Raises:
        StageError: Other weights are missing, have another shape or are not finite; the message
            counts them and names the first.
    """
    import torch
    import transformers

    from pipeline.fit import check_finite, check_report

    transformers.utils.logging.disable_progress_bar()  # it flashes by, once a stage
    rounded: dict[str, Any] = {}
    if quantization is not None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        settings = transformers.BitsAndBytesConfig(load_in_4bit=True, **quantization)
        rounded = {"quantization_config": settings, "device_map": {"": device}}
    model, report = getattr(transformers, auto_class).from_pretrained(
        weights.parent,
        config=config,
        dtype="float32",
        use_safetensors=weights.suffix == ".safetensors",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        local_files_only=True,
        **rounded,
    )
    check_report(model, report, weights, new_head=new_head)
    check_finite(model, f"model: {weights}")
    loaded: PreTrainedModel = model.eval()
    return loaded


def architecture(auto_class: str, config: PretrainedConfig) -> PreTrainedModel:
    """Return the model on torch's meta device: modules and shapes of any size, no values."""
    import torch
    import transformers

    with torch.device("meta"):
        model: PreTrainedModel = getattr(transformers, auto_class).from_config(
            config, dtype=torch.float32
        )
    return model.eval()


def merged(auto_class: str, folder: Path) -> PreTrainedModel:
    """Return the model in a folder that `save_pretrained` wrote, as a user would load it."""
    import transformers

    make_known(folder)
    model: PreTrainedModel = getattr(transformers, auto_class).from_pretrained(
        folder, dtype="float32", use_safetensors=True, local_files_only=True
    )
    return model.eval()
