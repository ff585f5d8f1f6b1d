"""A model of which some or all trains, in the shape of a `peft.PeftModel`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.errors import StageError
from pipeline.fit import outside_body, shapes
from pipeline.partial.bottleneck import bottleneck_behind, is_own
from pipeline.partial.choice import chosen
from pipeline.partial.places import matching
from pipeline.partial.settings import WEIGHTS, Kind, Settings, read_settings
from pipeline.partial.statistics import trains_in_full

__all__ = ["PartialModel", "insert", "load", "skeleton"]

_PREFIX = "base_model.model."


class PartialModel(nn.Module):
    """The model itself, under the names that PEFT gives to its parts; nothing is copied.

    It answers what the pipeline asks of a `peft.PeftModel`. Everything else goes to the model.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        """Take a model with its bottlenecks, if it has any; freeze what does not train."""
        super().__init__()
        self.base_model = nn.ModuleDict({"model": model})
        self.peft_config = {"default": settings}
        self.pristine = False
        """Whether the pretrained body still has the values that it was loaded with."""
        self._chosen = chosen(model, settings)
        self.require_gradients()
        # While that is known: what is loaded to answer, and not to train, asks for none.
        self._buffers_kept = self._moving()

    def __getattr__(self, name: str) -> Any:
        """Ask the model what this does not know, as PEFT does."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_model":
                raise
            return getattr(self.base_model["model"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns."""
        return self.base_model["model"](*args, **kwargs)

    def get_base_model(self) -> nn.Module:
        """Return the model; as with PEFT, with its adapters."""
        return self.base_model["model"]

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Return how many parameters train, and how many there are; tied ones count once."""
        every = list(self.parameters())
        return sum(v.numel() for v in every if v.requires_grad), sum(v.numel() for v in every)

    def merge_and_unload(self) -> nn.Module:
        """Return the model, as it is.

        Raises:
            NotImplementedError: What a bottleneck computes is not linear.
        """
        if any(is_own(name) for name, _ in self.named_parameters()):
            raise NotImplementedError("a bottleneck is not linear")
        return self.get_base_model()

    def require_gradients(self, wanted: bool = True) -> None:
        """Let what trains ask for a gradient, and nothing else; or nothing at all."""
        trains = set(self._chosen) if wanted else set()
        for name, value in self.get_base_model().named_parameters():
            value.requires_grad_(name in trains)

    @property
    def everything_trains(self) -> bool:
        """Whether nothing is frozen, layers without parameters included."""
        return self.peft_config["default"].peft_type == Kind.NONE

    @property
    def changes_base(self) -> bool:
        """Whether anything of the base model itself trains: more than its head and bottlenecks."""
        return any(not is_own(name) and not self._is_head(name) for name in self._chosen)

    def lend_head(self, other: nn.Module) -> None:
        """Give the values of this model's head to another one like it."""
        theirs = {**dict(other.named_parameters()), **dict(other.named_buffers())}
        for name, value in self.kept(whole=True).items():
            if self._is_head(own := name.removeprefix(_PREFIX)):
                theirs[own].detach().copy_(value.detach())

    def _is_head(self, name: str) -> bool:
        heads: tuple[str, ...] = self.peft_config["default"].head
        return name.startswith(tuple(f"{head}." for head in heads))

    def kept(self, *, whole: bool) -> dict[str, Tensor]:
        """Return what a file of this model holds: what trains, and the buffers that move with it.

        Args:
            whole: Else without what is in the files of the base model.
        """
        model = self.get_base_model()
        names = {*self._chosen, *self._buffers_kept}
        if not whole:
            # What may have been made, and not read: also what lies outside the body unnoticed.
            outside = outside_body(model, names) if hasattr(model, "base_model_prefix") else names
            names = {n for n in names if is_own(n) or self._is_head(n) or n in outside}
        every = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        return {f"{_PREFIX}{name}": value for name, value in every.items() if name in names}

    def _moving(self) -> list[str]:
        model = self.get_base_model()
        saved = model.state_dict().keys()
        return [
            name
            for at, module in model.named_modules()
            if self.everything_trains or trains_in_full(module)
            for part, _ in module.named_buffers(recurse=False)
            if (name := f"{at}.{part}".removeprefix(".")) in saved
        ]

    def save_pretrained(self, folder: Path, *, values: bool = True, **more: object) -> None:
        """Write what trains, and what it is, in a format of ours: PEFT has none for it.

        Args:
            folder: May exist.
            values: Whether there are any; else the settings are written alone.
            more: Facts to keep beside the settings. What PEFT would be asked is passed over.
        """
        folder.mkdir(parents=True, exist_ok=True)
        more.pop("save_embedding_layers", None)
        if values:
            # A copy each: safetensors refuses tensors that have gaps.
            tensors = {
                name: value.detach().cpu().contiguous()
                for name, value in self.kept(whole=not self.pristine).items()
            }
            save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        self.peft_config["default"].save(folder, whole=not self.pristine, **more)


def insert(model: nn.Module, settings: Settings) -> PartialModel:
    """Freeze a pretrained model but for what trains, with new bottlenecks if there are to be any.

    These start from torch's global generator, where the weights of the model lie.

    Raises:
        StageError: A target is a module that has no width; or nothing would train.
    """
    made = skeleton(model, settings)
    made.pristine = True
    return made


def skeleton(model: nn.Module, settings: Settings) -> PartialModel:
    """Return the same, to load values into."""
    if settings.target_modules:
        names = [name for name, _ in model.named_modules() if name]
        for name in matching(names, settings.target_modules, settings.exclude_modules):
            above, _, last = name.rpartition(".")
            layer = bottleneck_behind(model.get_submodule(name), settings)
            if layer is None:
                kind = type(model.get_submodule(name)).__name__
                raise StageError(
                    f"adapter.target_modules: {name} is a {kind}, which cannot carry a bottleneck; "
                    "a Linear, Conv1D or Conv2d can"
                )
            setattr(model.get_submodule(above), last, layer)
    made = PartialModel(model, settings)
    if not made.get_nb_trainable_parameters()[0]:
        raise StageError(
            f"adapter: nothing would train: {type(model).__name__} has no "
            f"{'bias' if settings.peft_type == Kind.BITFIT else 'head with weights of its own'}; "
            "name modules to train in adapter.modules_to_save, or choose another adapter"
        )
    return made


def load(model: nn.Module, folder: Path, *, trainable: bool) -> PartialModel:
    """Return a model with what `PartialModel.save_pretrained` wrote in it.

    Raises:
        StageError: The folder is damaged, or its weights are not those that its settings ask for
            in this model; the message counts them and names the first.
    """
    settings, more = read_settings(folder)
    file = folder / WEIGHTS
    saved = {name: tuple(value.shape) for name, value in shapes([file], "adapter").items()}
    made = skeleton(model, settings)
    needed = made.kept(whole=bool(more["whole"]))
    missing, foreign = sorted(needed.keys() - saved.keys()), sorted(saved.keys() - needed.keys())
    wrong = [name for name in needed if name in saved and needed[name].shape != saved[name]]
    if missing or foreign or wrong:
        if wrong:
            first = f"{wrong[0]} has {saved[wrong[0]]} and not {tuple(needed[wrong[0]].shape)}"
        else:
            first = f"{missing[0]} is missing" if missing else f"{foreign[0]} has no place in it"
        raise StageError(
            f"adapter: {file} does not fit {type(model).__name__}: of the {len(needed)} weights it "
            f"needs, {len(missing)} are missing, {len(wrong)} have another shape, and "
            f"{len(foreign)} others are there; first: {first}. Choose the weights of this model, "
            "and of the same settings"
        )
    try:
        with safe_open(file, framework="pt") as stream:  # one at a time: it may be a whole model
            for name, value in needed.items():
                value.detach().copy_(stream.get_tensor(name))
    except (SafetensorError, OSError) as error:
        raise StageError(f"adapter: {file} is damaged ({error}); get it again") from error
    made.require_gradients(trainable)
    return made.eval()
