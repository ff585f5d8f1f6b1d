"""Adapters from and to a folder: in PEFT's own format, or in ours where PEFT has none.

Which of the two it is, is asked here alone: `PartialModel` answers what a `PeftModel` does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import StageError
from pipeline.fit import shapes
from pipeline.partial.settings import CONFIG, read_settings
from pipeline.prompts import load_encoder, save_encoder
from pipeline.without_values import without_values

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["adapted_architecture", "save_adapter", "with_adapter"]


def with_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool) -> PeftModel:
    """Return a model with the adapter of a folder in it, in eval mode.

    If it is to train: batch norms that are frozen keep their running statistics, and stay in eval
    mode whatever mode the model is put into.

    Raises:
        StageError: The folder cannot be read; or its weights are not those of its config, which
            PEFT would pass over, and train a fresh adapter instead.
    """
    from pipeline.partial.statistics import keep_statistics

    if (folder / CONFIG).is_file():
        from pipeline.partial.model import load

        loaded = load(model, folder, trainable=trainable)
        if trainable and not loaded.everything_trains:
            keep_statistics(loaded)
        return loaded
    loaded = _with_peft(model, folder, trainable=trainable)
    if trainable:
        keep_statistics(loaded)
    return loaded.eval()


def _with_peft(model: PreTrainedModel, folder: Path, *, trainable: bool) -> PeftModel:
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    if not (folder / "adapter_config.json").is_file() or not file.is_file():
        raise StageError(
            f"adapter: {folder} is no adapter in PEFT's format: it needs adapter_config.json and "
            f"{file.name}"
        )
    saved = {name: tuple(value.shape) for name, value in shapes([file], "adapter").items()}
    try:
        loaded: PeftModel
        if trainable and PeftConfig.from_pretrained(folder).is_prompt_learning:
            loaded = adapted_architecture(model, folder, on_meta=False)
            set_peft_model_state_dict(loaded, load_file(file))  # PEFT loads them only to answer
            load_encoder(loaded, folder)
        else:
            loaded = PeftModel.from_pretrained(
                model, folder, is_trainable=trainable, local_files_only=True
            )
    except Exception as error:  # PEFT has no error of its own for any of this
        raise StageError(
            f"adapter: {folder} does not fit: {_reason(error, type(model).__name__)}"
        ) from error
    needed = get_peft_model_state_dict(loaded, save_embedding_layers=False)
    missing, foreign = sorted(needed.keys() - saved.keys()), sorted(saved.keys() - needed.keys())
    if missing or foreign:
        first = f"{missing[0]} is missing" if missing else f"{foreign[0]} has no place in it"
        raise StageError(
            f"adapter: {file} does not fit {type(model).__name__}: of the {len(needed)} weights it "
            f"needs, {len(missing)} are missing, and {len(foreign)} others are there; first: "
            f"{first}. Choose the adapter of this model, and of the same settings"
        )
    return loaded


def _reason(error: Exception, model: str) -> str:
    """Return of PEFT's and torch's many lines the one that names a weight, or the first."""
    if str(error).startswith("No modules were targeted"):
        return f"{model} has none of the modules that it was made for"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("size mismatch")), None)
    return told or (lines[0] if lines else type(error).__name__)


def adapted_architecture(
    model: PreTrainedModel, folder: Path, *, on_meta: bool = True
) -> PeftModel:
    """Return a model with the adapter of a folder in it, in eval mode, as it would train.

    Of the adapter its settings are all that is read: it has no values on the meta device, where the
    model usually lies, and else new ones.
    """
    if (folder / CONFIG).is_file():
        from pipeline.partial.model import skeleton

        return skeleton(model, read_settings(folder)[0]).eval()
    from peft import PeftConfig, get_peft_model

    settings = PeftConfig.from_pretrained(folder)
    settings.inference_mode = False  # as PEFT writes it: without a gradient nothing would train
    put = without_values if on_meta else get_peft_model
    adapted: PeftModel = put(model, settings)
    return adapted.eval()


def save_adapter(
    model: PeftModel, folder: Path, *, repo_id: str | None, revision: str | None, values: bool
) -> None:
    """Write the adapter of a model, its head included: safetensors, and its settings as JSON.

    The files hold no path of this machine; the same weights give the same bytes.

    Args:
        model: With the adapter.
        folder: May exist.
        repo_id: What the files call the base model: its id on the hub, if it has one.
        revision: Its commit there.
        values: Whether there are any weights; else the config is written alone.
    """
    from pipeline.partial.model import PartialModel

    if isinstance(model, PartialModel):
        named = {"base_model_name_or_path": repo_id, "revision": revision}
        model.save_pretrained(folder, values=values, **named)
        return
    if values:
        # "auto" would ask the hub whether the vocabulary has grown; ours never does.
        model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # a form to fill in, not a fact
        save_encoder(model, folder)
    else:
        model.peft_config["default"].save_pretrained(folder)
    file = folder / "adapter_config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    # Left to itself PEFT writes the folder the base was loaded from. A base that is not on the
    # hub has no name there: any name might be somebody else's model.
    told |= {"base_model_name_or_path": repo_id, "revision": revision}
    told["inference_mode"] = True  # as PEFT writes it beside weights
    for key, value in told.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            told[key] = sorted(set(value))  # PEFT writes sets in the order of their hashes
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
