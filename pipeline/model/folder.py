"""What all sources share: a folder in the transformers layout becomes a `BaseModel`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.artifacts import BaseModel, HashedFile
from pipeline.errors import StageError
from pipeline.fit import check_header
from pipeline.model.config_file import check_model_type, read_config
from pipeline.model.images import TIMM, check_images, check_packages, load_processor
from pipeline.model.weight_files import weight_files
from pipeline.model.words import check_room, load_tokenizer
from pipeline.seal import sha256
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["READ", "Source", "buildable", "contents", "from_folder"]

log = logging.getLogger(__name__)

READ = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
"""The files of a model, besides its weights, that are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What every source of a model is asked."""

    task: str
    """Key of `pipeline.tasks`; decides the head."""
    dropout: float | None
    """Probability for every dropout the config has, 0 up to 1; None keeps the config's own."""
    weights: Literal["full", "none"]
    """`none` takes the architecture alone: no weight is read, hashed or needed."""

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


def from_folder(
    source: Path,
    folder: Path,
    *,
    told: str,
    name: str,
    repo_id: str | None = None,
    revision: str | None = None,
    asked: Source,
    allow_pickle: bool,
    look: bool = False,
) -> BaseModel:
    """Check `source`, hash its weights, and save what a model needs besides them into `folder`.

    Args:
        source: Folder with `config.json`, what makes the model's inputs and, unless `asked` wants
            none, weights.
        folder: The stage's own folder.
        told: Where the model comes from, for the record.
        name: What to call it in files that leave this machine.
        repo_id: Its id on the hub, if it has one.
        revision: Commit on the hub, if it came from there.
        asked: The task, the dropout, and whether there are weights.
        allow_pickle: Accept `pytorch_model.bin` when there is no safetensors file.
        look: Read no more than the headers of the weights, and return the architecture alone.

    Raises:
        StageError: Something is missing, damaged, does not fit, or would need code of the model's
            author.
    """
    fields = read_config(source)
    model_type = fields.get("model_type", TIMM if "pretrained_cfg" in fields else None)
    check_model_type(model_type, f"model: {source / 'config.json'}")
    task = task_named(asked.task)
    check_packages(model_type, task)
    files = weight_files(source, allow_pickle=allow_pickle) if asked.weights == "full" else ()
    config = _config(source, asked.dropout)
    images = task.reads == "images"
    processor = load_processor(source, fields) if images else _tokenizer(source, config)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    bare = BaseModel(
        folder=folder,
        weights=(),
        name=name,
        repo_id=repo_id,
        revision=revision,
        source=told,
        task=asked.task,
        auto_class=task.auto_class,
        problem_type=task.problem_type,
    )
    model = buildable(bare, str(source / "config.json"), labelled=task.labelled)
    if images:
        check_images(task, bare, model, f"model: {source}")
    if files:
        check_header(model, files, new_head=task.labelled)
    if look:
        return bare
    hashed = _hashed(files)
    size = f"{sum(each.size for each in hashed) / 1e6:.1f} MB of weights"
    log.info("    %s %s, %s", config.model_type, told, size if hashed else "without weights")
    return replace(bare, weights=hashed)


def contents(source: Path, *, weights: str, allow_pickle: bool) -> dict[str, str]:
    """Return the sha256 of each file that `from_folder` would read, by its absolute path.

    Raises:
        StageError: Something is missing.
    """
    read_config(source)
    files = {file for pattern in READ for file in source.glob(pattern) if file.is_file()}
    if weights == "full":
        files |= {*weight_files(source, allow_pickle=allow_pickle)}
    return {str(file.absolute()): sha256(file) for file in sorted(files)}


def buildable(bare: BaseModel, where: str, *, labelled: bool) -> PreTrainedModel:
    """Return the architecture of a model without weights, on the meta device.

    Raises:
        StageError: Its config describes no model, or none for this task; starts with `where`.
    """
    try:
        return bare.architecture(("0", "1") if labelled else ())
    except Exception as error:  # whatever a class of transformers makes of impossible sizes
        if str(error).startswith("Unrecognized configuration class"):
            raise StageError(
                f"model.task: a model of this type ({where}) cannot do {bare.task}: transformers "
                f"has no {bare.auto_class} for it"
            ) from error
        raise StageError(
            f"model: {where} describes no model that can be built: {type(error).__name__}: "
            f"{_one_line(error)}"
        ) from error


def _config(source: Path, dropout: float | None) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            source, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # each class of config checks its fields in its own way
        raise StageError(f"model: {source / 'config.json'}: {_one_line(error)}") from error
    if dropout is not None:
        for key in vars(config):
            if key.endswith(("dropout", "dropout_prob", "dropout_rate", "_pdrop")):
                setattr(config, key, dropout)
    return config


def _tokenizer(source: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(source)
    check_room(tokenizer, config, f"model: {source}")
    _ensure_padding(tokenizer, config, source)
    return tokenizer


def _ensure_padding(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, source: Path
) -> None:
    """Pad with the end of a text where a model was pretrained without padding: a mask hides it."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise StageError(
                f"model: the tokenizer in {source} has neither a pad_token nor an eos_token, so "
                "texts of different lengths make no batch; set one in tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id


def _hashed(files: Iterable[Path]) -> tuple[HashedFile, ...]:
    try:
        return tuple(
            HashedFile(path=file, sha256=sha256(file), size=file.stat().st_size) for file in files
        )
    except OSError as error:
        raise StageError(f"model: cannot read {error.filename}: {error.strerror}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
