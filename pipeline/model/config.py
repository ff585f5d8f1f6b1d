"""A model built from a config: with random weights, or as an architecture alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.artifacts import BaseModel
from pipeline.errors import MachineError, StageError
from pipeline.fit import outside_body
from pipeline.model.bytes_tokenizer import WORDS, bytes_tokenizer, special_tokens
from pipeline.model.config_file import check_fields, check_model_type
from pipeline.model.folder import Source, from_folder
from pipeline.model.images import check_packages, plain_processor
from pipeline.model.words import check_room
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

__all__ = ["FromConfig"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FromConfig(Source):
    """An architecture without a past: for tests, and to look at a shape of any size.

    Its tokenizer reads text byte by byte, and its image processor brings images to the config's
    size, so nothing need be downloaded for it.
    """

    name: str
    """What to call it where others see it."""
    model_type: str
    """As transformers names it: `bert`."""
    config: Mapping[str, Any]
    """Fields of that type's config: `hidden_size`, `num_hidden_layers`, ..."""
    seed: int
    """Decides the weights, if it has any."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 4294967295, got {self.seed}")
        # Not `super()`: a dataclass with slots is a new class, which its methods do not know.
        Source.__post_init__(self)

    def run(self, given: None, folder: Path) -> BaseModel:
        return self._made(folder, look=False)

    def look(self, given: None, folder: Path) -> BaseModel:
        """Do what `run` does, without making any weights."""
        return self._made(folder, look=True)

    def reads(self) -> Mapping[str, str]:
        """Return nothing: all of it is in the settings."""
        return {}

    def _made(self, folder: Path, *, look: bool) -> BaseModel:
        check_model_type(self.model_type, "model.model_type")
        check_packages(self.model_type, task_named(self.task))
        check_fields(self.config, "model.config")
        config = self._described()
        images = task_named(self.task).reads == "images"
        processor = plain_processor(config) if images else self._tokenizer(config)
        config.save_pretrained(folder)
        processor.save_pretrained(folder)
        asked: Source = self
        if look or self.weights == "none":
            asked = Source(task=self.task, dropout=self.dropout, weights="none")
        else:
            self._save_random_weights(config, folder)
        told = f"random weights, seed {self.seed}" if self.weights == "full" else "from its config"
        return from_folder(
            folder,
            folder,
            told=told,
            name=self.name,
            asked=asked,
            allow_pickle=False,
            look=look,
        )

    def _tokenizer(self, config: PretrainedConfig) -> PreTrainedTokenizerFast:
        """Return one that frames texts only where nothing is to be written after them."""
        frame: Literal["both", "end", "none"] = "end" if config.is_encoder_decoder else "none"
        tokenizer = bytes_tokenizer("both" if task_named(self.task).labelled else frame)
        check_room(tokenizer, config, "model.config")
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", 512)
        if getattr(config, "type_vocab_size", 0) < 2:  # no embedding for a text's number in a pair
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        return tokenizer

    def _described(self) -> PretrainedConfig:
        """Return the config, of which a model can be built for this task."""
        import torch
        import transformers

        task = task_named(self.task)
        fields: dict[str, Any] = {}
        if task.reads == "text":
            fields = {"vocab_size": WORDS, "pad_token_id": 0}
        if not task.labelled:  # it writes text
            decodes = bool(transformers.CONFIG_MAPPING[self.model_type]().is_encoder_decoder)
            fields |= special_tokens(decodes=decodes)
        auto_class = getattr(transformers, task.auto_class)
        try:
            config: PretrainedConfig = transformers.AutoConfig.for_model(
                self.model_type, **{**fields, **self.config}
            )
            with torch.device("meta"):
                model = auto_class.from_config(config)
        except Exception as error:  # whatever a class of transformers makes of impossible sizes
            said = " ".join(str(error).split())
            if said.startswith("Unrecognized configuration class"):
                raise StageError(
                    f"model.task: {self.model_type} cannot do {self.task}: transformers has no "
                    f"{task_named(self.task).auto_class} for it"
                ) from error
            raise StageError(
                f"model.config: describes no model that can be built: {type(error).__name__}: "
                f"{said}"
            ) from error
        if self.weights == "full":
            _check_memory(sum(value.numel() for value in model.parameters()))
        return config

    def _save_random_weights(self, config: PretrainedConfig, folder: Path) -> None:
        import torch
        import transformers

        task = task_named(self.task)
        torch.manual_seed(self.seed)
        model = getattr(transformers, task.auto_class).from_config(config)
        transformers.utils.logging.disable_progress_bar()  # it is done in a blink
        # A head with an output a label is made when the labels are known.
        whole = model.base_model if task.labelled else model
        if isinstance(whole, transformers.PreTrainedModel):
            whole.save_pretrained(folder)
            return
        # The body is a module of timm, which transformers saves by way of its own around it.
        values = model.state_dict()
        head = outside_body(model, values)
        kept = {name: value for name, value in values.items() if name not in head}
        model.save_pretrained(folder, state_dict=kept)


def _check_memory(parameters: int) -> None:
    import psutil

    needed, there = 4 * parameters, psutil.virtual_memory().available  # bytes of float32
    if needed > there:
        raise MachineError(
            f"model.weights: {parameters:,} random weights take {needed / 1e9:.1f} GB, and "
            f"{there / 1e9:.1f} GB of memory are free; use model.weights=none to look at the model"
        )
