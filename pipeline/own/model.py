"""A user's `nn.Module` behind the interface of transformers, under its own parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from pipeline.errors import StageError
from pipeline.own.building import built, logits_of
from pipeline.own.config import OwnConfig

__all__ = ["OwnModel"]

_SHARED = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


class OwnModel(PreTrainedModel):  # type: ignore[misc]  # transformers is not typed
    """Has no module of its own: the tables of the user's module are its tables.

    So a name is the same in both, without a prefix, and what PEFT puts into one is in the other.
    """

    config_class = OwnConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: OwnConfig) -> None:
        """Build the module that `config` describes, on torch's default device.

        Raises:
            StageError: There is no consent to import its class, or it cannot be built.
        """
        super().__init__(config)
        inner = built(config)
        self.__dict__["inner"] = inner  # past `nn.Module`, which would make it a submodule
        for table in _SHARED:
            self.__dict__[table] = inner.__dict__[table]
        self.training = inner.training
        self._tied_weights_keys = _tied(inner)
        self.post_init()

    @property
    def head_modules(self) -> tuple[str, ...]:
        """Names of the modules that make the outputs: what is not in the body."""
        return tuple(self.config.head or ())

    def forward(self, pixel_values: Tensor) -> ImageClassifierOutput:
        """Return logits (rows, labels) of images (rows, channels, height, width)."""
        # Its `forward`, since a call would be one of a module that has no place in the tree.
        made = self.__dict__["inner"].forward(pixel_values)
        return ImageClassifierOutput(logits=logits_of(made))

    def train(self, mode: bool = True) -> Self:
        """Set the mode, as the user's module does it."""
        self.__dict__["inner"].train(mode)
        self.training = mode
        return self

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Return the names of parameters that are another one, with that one's name."""
        return dict(self._tied_weights_keys)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave it: the user's class has set its weights."""

    @classmethod
    def from_pretrained(
        cls, folder: Any, *_: Any, config: OwnConfig | None = None, **how: Any
    ) -> Any:
        """Build the module, and put the weights of a folder into it.

        What the weights lack stays as the class made it. That is why this is not the loading of
        transformers: it builds modules without values, and would lose what a class computes for
        itself and does not save.

        Args:
            folder: With `config.json` and safetensors; None with `state_dict`.
            config: In place of that file.
            how: As transformers knows it: `state_dict`, `device_map` of nothing but `meta`,
                `ignore_mismatched_sizes`, `output_loading_info`. The rest is passed over.
        """
        config = OwnConfig.from_pretrained(folder) if config is None else config
        on_meta = how.get("device_map") == {"": "meta"}
        given: Mapping[str, Tensor] | None = how.get("state_dict")
        if given is None:
            given = {}
            for file in sorted(Path(folder).glob("model*.safetensors")):
                given |= load_file(file)
        with torch.device("meta") if on_meta else nullcontext():
            model = cls(config)
        ours = model.state_dict()
        mismatched = [
            (name, tuple(value.shape), tuple(ours[name].shape))
            for name, value in given.items()
            if name in ours and value.shape != ours[name].shape
        ]
        if mismatched and not how.get("ignore_mismatched_sizes"):
            name, had, wants = mismatched[0]
            raise StageError(f"model: {name} has the shape {had} and not {wants} in {folder}")
        unfit = {name for name, _, _ in mismatched}
        fit = {name: value for name, value in given.items() if name in ours and name not in unfit}
        if not on_meta:
            model.load_state_dict(fit, strict=False)
        tied = {name for name, source in model.all_tied_weights_keys.items() if source in given}
        report = {
            "missing_keys": set(ours) - set(given) - tied,
            "unexpected_keys": set(given) - set(ours),
            "mismatched_keys": set(mismatched),
            "error_msgs": [],
        }
        model.eval()
        return (model, report) if how.get("output_loading_info") else model


def _tied(module: nn.Module) -> dict[str, str]:
    first: dict[int, str] = {}
    found = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        if (known := first.setdefault(id(value), name)) != name:
            found[name] = known
    return found
