"""Go on from an adapter that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.adapter.ranges import problems
from pipeline.artifacts import AdaptedModel, BaseModel, Examples
from pipeline.errors import StageError
from pipeline.partial.settings import CONFIG, WEIGHTS
from pipeline.seal import sha256

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["Existing"]

_CONFIGS = ("adapter_config.json", CONFIG)
"""Of PEFT's kinds, and of ours."""
_OURS = ("placement.json", "seal.json")
"""What a run writes beside an adapter; no part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Existing:
    """Takes an adapter of any kind, with its settings and its values, from a folder."""

    path: Path
    """In PEFT's format, such as `4_finetune/adapter` or `5_export/adapter` of a run."""
    seed: int
    """Of a new head, if the adapter has none of its own."""

    def __post_init__(self) -> None:
        if wrong := list(problems("", {"seed": self.seed})):
            raise ValueError("\n".join(wrong))

    def reads(self) -> Mapping[str, str]:
        """Return the sha256 of the files of the adapter, by their absolute paths."""
        folder = self._folder()
        files = sorted(file for file in folder.iterdir() if file.is_file())
        return {str(file): sha256(file) for file in files if file.name not in _OURS}

    def look(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Do what `run` does, as far as the settings and the shapes of the weights go."""
        return self.run(given, folder)

    def run(self, given: tuple[BaseModel, Examples], folder: Path) -> AdaptedModel:
        """Put the adapter into the model, and save it as it starts with its placement.

        Raises:
            StageError: There is no adapter, it is damaged, or made for another model or other
                labels; the message names the first weight that does not fit. Or the head would
                stay frozen.
        """
        from pipeline.adapted import with_adapter
        from pipeline.adapter.placement import place
        from pipeline.adapter.start import finish, opened

        source = self._folder()
        start = opened(given, self.seed)
        if start.on_meta:
            adapted = _architecture(start.model, source)
        else:
            adapted = with_adapter(start.model, source, trainable=True)
        return finish(start, adapted, place(adapted, start.before), folder)

    def _folder(self) -> Path:
        try:
            folder = self.path.expanduser().absolute()
        except RuntimeError:  # ~nobody is no user: then it is a name like any other
            folder = self.path.absolute()
        if not folder.is_dir():
            raise StageError(f"adapter.path: {self.path} is no folder")
        if not _is_adapter(folder):
            inside = next(
                (each.name for each in sorted(folder.glob("*/")) if _is_adapter(each)), ""
            )
            near = f"; {inside}/ in it is one" if inside else ""
            raise StageError(
                f"adapter.path: {self.path} is no adapter in PEFT's format: it needs {_CONFIGS[0]} "
                f"and {WEIGHTS}{near}"
            )
        return folder


def _is_adapter(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() and any((folder / name).is_file() for name in _CONFIGS)


def _architecture(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put the adapter into a model on the meta device; the names of its weights are checked.

    Raises:
        StageError: It is not for this model; counts the weights that are missing or foreign.
    """
    import peft

    from pipeline.adapted import adapted_architecture
    from pipeline.fit import shapes

    saved = set(shapes([folder / WEIGHTS], "adapter"))
    name = type(model).__name__
    try:
        adapted = adapted_architecture(model, folder)
    except (ValueError, TypeError, KeyError) as error:  # PEFT has no error of its own
        said = " ".join(str(error).split())
        raise StageError(f"adapter: {folder} does not fit {name}: {said}") from error
    if not isinstance(adapted, peft.PeftModel) or adapted.peft_config["default"].is_prompt_learning:
        return adapted  # of these the files hold something else than the model
    needed = set(peft.get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if unfit := sorted(needed ^ saved):
        raise StageError(
            f"adapter: {folder} does not fit {name}: {len(needed - saved)} of the {len(needed)} "
            f"weights it needs are missing, and {len(saved - needed)} others are there; first: "
            f"{unfit[0]}"
        )
    return adapted
