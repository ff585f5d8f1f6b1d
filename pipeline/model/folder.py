"""What all sources share: a folder in the transformers layout becomes a `BaseModel`."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.artifacts import BaseModel, HashedFile
from pipeline.errors import StageError
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

__all__ = ["Source", "from_folder"]

log = logging.getLogger(__name__)

_LFS = b"version https://git-lfs"


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
    task: str,
    dropout: float | None,
    weights: Literal["full", "none"],
    allow_pickle: bool,
) -> BaseModel:
    """Check `source`, hash its weights, and save its config and tokenizer into `folder`.

    Args:
        source: Folder with `config.json`, a tokenizer and, unless `weights` is `none`, weights.
        folder: The stage's own folder.
        told: Where the model comes from, for the record.
        name: What to call it in files that leave this machine.
        repo_id: Its id on the hub, if it has one.
        revision: Commit on the hub, if it came from there.
        task: Key of `pipeline.tasks`.
        dropout: Probability for every dropout the config has; None keeps the config's.
        weights: `full`, or `none` for an architecture alone.
        allow_pickle: Accept `pytorch_model.bin` when there is no safetensors file.

    Raises:
        StageError: Something is missing, damaged, or would need code of the model's author.
    """
    _check_config(source)
    files = _weights(source, allow_pickle=allow_pickle) if weights == "full" else ()

    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=True)
    except ValueError as error:
        raise StageError(f"model: {source / 'config.json'}: {_first_line(error)}") from error
    if dropout is not None:
        for key in vars(config):
            if key.endswith(("dropout", "dropout_prob", "_pdrop")):
                setattr(config, key, dropout)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise StageError(f"model: no tokenizer in {source}: {_first_line(error)}") from error
    _ensure_padding(tokenizer, config, source)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = f"{_megabytes(files):.1f} MB of weights" if files else "without weights"
    log.info("    %s %s, %s", config.model_type, told, size)
    return BaseModel(
        folder=folder,
        weights=files,
        name=name,
        repo_id=repo_id,
        revision=revision,
        source=told,
        task=task,
        auto_class=task_named(task).auto_class,
    )


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


def _check_config(source: Path) -> None:
    if not source.exists():
        raise StageError(f"model.path: no such folder: {source}")
    if not source.is_dir():
        raise StageError(f"model.path: {source} is a file; expected a folder with config.json")
    file = source / "config.json"
    if not file.is_file():
        raise StageError(f"model.path: {source} has no config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StageError(f"model: {file} is not valid JSON: {error}") from error
    if "auto_map" in config:
        raise StageError(
            f"model: {file} asks to run Python code that comes with the model (auto_map); "
            "that is never done here. Choose a model that transformers itself knows"
        )
    attention = str(config.get("_attn_implementation", ""))
    if "/" in attention:
        raise StageError(f"model: {file} asks for the attention kernel {attention!r} from the hub")


def _weights(source: Path, *, allow_pickle: bool) -> tuple[HashedFile, ...]:
    # The names transformers loads; other files of weights may lie beside them.
    whole, parts = source / "model.safetensors", sorted(source.glob("model-*-of-*.safetensors"))
    files = [whole] if whole.is_file() else parts
    pickle, parts = source / "pytorch_model.bin", sorted(source.glob("pytorch_model-*.bin"))
    pickles = [pickle] if pickle.is_file() else parts
    if not files and pickles and not allow_pickle:
        raise StageError(
            f"model: {source} has only {pickles[0].name}, a pickle; convert it to safetensors, or "
            "set model.allow_pickle=true if you trust its author"
        )
    files = files or (pickles if allow_pickle else [])
    if not files:
        raise StageError(f"model: {source} has no model.safetensors")
    return tuple(_weight_file(file) for file in files)


def _weight_file(path: Path) -> HashedFile:
    with path.open("rb") as stream:
        start = stream.read(len(_LFS))
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    size = path.stat().st_size
    if start == _LFS:
        raise StageError(f"model: {path} is a git-lfs pointer ({size} bytes); run `git lfs pull`")
    if path.suffix == ".safetensors":
        _check_safetensors(path)
    return HashedFile(path=path, sha256=digest, size=size)


def _check_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise StageError(f"model: {path} is damaged ({error}); get it again") from error


def _megabytes(weights: tuple[HashedFile, ...]) -> float:
    return sum(weight.size for weight in weights) / 1e6


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
