"""What one stage hands to the next: paths and facts, never a live object.

Every artifact lives on disk. A class here is small, frozen and turns into JSON and back, so that
`finetune` can run in other processes and a finished run can be opened again next week. The heavy
object behind it (a model, a table) comes from its `load` method, which imports what it needs only
then: importing this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.adapted import adapted_architecture, save_adapter, with_adapter
from pipeline.placement import Placement
from pipeline.pretrained import architecture, config_of, merged, with_weights

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import (
        BaseImageProcessor,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

__all__ = [
    "AdaptedModel",
    "BaseModel",
    "Examples",
    "ExportedModel",
    "HashedFile",
    "TrainedModel",
    "View",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class HashedFile:
    """A file that was read where it lies: weights and data are never copied."""

    path: Path
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """A pretrained model as it was before we touched it."""

    folder: Path
    """Config and tokenizer, saved by us."""
    weights: tuple[HashedFile, ...]
    """Those that are loaded, all in one folder, in the transformers layout. None of them: this is
    an architecture alone, and whatever is loaded lies on torch's meta device."""
    name: str
    """What to call it where others see it: never a path of this machine."""
    repo_id: str | None
    """Its id on the hub, which its adapters name as their base; None if it is not there."""
    revision: str | None
    """Commit on the hub, if it came from there."""
    source: str
    """Where it came from, exactly: `google-bert/bert-base-uncased@<commit>`, a package, a path."""
    task: str
    """Key of `pipeline.tasks`."""
    auto_class: str
    """The transformers class that loads it, such as `AutoModelForSequenceClassification`."""
    problem_type: str | None = None
    """How transformers calls what the head's outputs are, where its class leaves that open."""
    quantization: Mapping[str, Any] | None = None
    """How its weights are rounded when it is loaded, by the names of transformers'
    `BitsAndBytesConfig`; None: they are not."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it was saved with; the numbers of its outputs if they had no names."""
        return tuple(str(name) for name in config_of(self.folder).id2label.values())

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer the model was pretrained with."""
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            self.folder, trust_remote_code=False, local_files_only=True
        )
        return tokenizer

    def load_image_processor(self) -> BaseImageProcessor:
        """Return what turns images into the tensors that the model was pretrained with.

        It works with Pillow, so that every machine makes the same pixels.
        """
        from transformers import AutoImageProcessor

        processor: BaseImageProcessor = AutoImageProcessor.from_pretrained(
            self.folder, trust_remote_code=False, local_files_only=True, backend="pil"
        )
        return processor

    def load_config(self) -> PretrainedConfig:
        """Return its config, as it was."""
        return config_of(self.folder)

    def load(self, labels: tuple[str, ...]) -> PreTrainedModel:
        """Return the model in eval mode, float32, on the CPU, with a head of `len(labels)` outputs.

        The head is new and random (from torch's global generator) unless the weights hold one of
        the same size. Without weights it is `architecture`.

        Raises:
            StageError: Weights outside the head are missing, have another shape or are not
                finite; the message counts them and names the first.
        """
        if not self.weights:
            return self.architecture(labels)
        config = config_of(self.folder, labels, self.problem_type)
        return with_weights(
            self.auto_class,
            config,
            self.weights[0].path,
            new_head=bool(labels),
            quantization=self.quantization,
        )

    def architecture(self, labels: tuple[str, ...]) -> PreTrainedModel:
        """Return the model on torch's meta device: modules and shapes of any size, no values."""
        return architecture(self.auto_class, config_of(self.folder, labels, self.problem_type))

    def load_adapter(
        self, labels: tuple[str, ...], adapter: Path, *, trainable: bool = False
    ) -> PeftModel:
        """Return the model with an adapter of PEFT's format in it; in train mode if `trainable`.

        Without weights it is `adapted_architecture`.

        Raises:
            StageError: The adapter is damaged, or its weights are not those that its config asks
                for in this model; the message counts them and names the first.
        """
        if not self.weights:
            return self.adapted_architecture(labels, adapter).train(trainable)
        model = self.load(labels)
        if self.quantization and not trainable:  # the same values, in layers that anything can read
            model = model.dequantize()
        return with_adapter(model, adapter, trainable=trainable).train(trainable)

    def adapted_architecture(self, labels: tuple[str, ...], adapter: Path) -> PeftModel:
        """Return the model with an adapter of PEFT's format in it, on the meta device: no values.

        In eval mode; what would train asks for a gradient.
        """
        return adapted_architecture(self.architecture(labels), adapter)

    def save_adapter(self, model: PeftModel, folder: Path) -> None:
        """Write the adapter of `model`, its head included, in PEFT's format: safetensors only.

        The files name this base by its id on the hub and hold no path of this machine; the same
        weights give the same bytes. Without weights there is the config alone.
        """
        save_adapter(
            model,
            folder,
            repo_id=self.repo_id,
            revision=self.revision,
            values=bool(self.weights),
        )

    def load_merged(self, folder: Path) -> PreTrainedModel:
        """Return a model of the same class from a folder that `save_pretrained` wrote."""
        return merged(self.auto_class, folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Tokenised examples in Arrow tables, one folder a split: train, validation, test.

    With `data=none` there are no rows and no folders, only the labels of the head.
    """

    folder: Path
    task: str
    """Key of `pipeline.tasks`."""
    sources: tuple[HashedFile, ...]
    """The files the rows were read from; none for the hub."""
    revision: str | None
    """What the hub calls the version that was read, if it came from there."""
    labels: tuple[str, ...]
    """Label names; the integer in a table's column `labels` is an index into them. None of them:
    the head has no output a label."""
    train_rows: int
    validation_rows: int
    test_rows: int
    longest: int
    """Tokens of the longest example after truncation; 0 without rows."""
    mean_length: float
    """Mean tokens of a training example; 0 without rows."""
    preview: Path | None = None
    """`preview.json`, some rows as a person reads them; None without rows."""

    def load(self, split: str) -> Dataset:
        """Return one split, memory-mapped. Columns: the tokenizer's, `labels`, `length`."""
        from datasets import load_from_disk

        table: Dataset = load_from_disk(str(self.folder / split))
        return table


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptedModel:
    """A base model with an adapter in it, before training."""

    base: BaseModel
    labels: tuple[str, ...]
    folder: Path
    """The adapter in PEFT's own format with its initial weights, if the base has any, and
    `placement.json`."""
    trainable: int
    total: int
    """Parameters in all, trainable and frozen."""

    @property
    def placement(self) -> Placement:
        """Which modules carry the adapter."""
        return Placement.read(self.folder / "placement.json")

    def load(self, *, trainable: bool = False) -> PeftModel:
        """Return base and adapter together, on the CPU; in train mode when `trainable`."""
        return self.base.load_adapter(self.labels, self.folder, trainable=trainable)

    def architecture(self) -> PeftModel:
        """Return base and adapter together on the meta device, in eval mode: no values."""
        return self.base.adapted_architecture(self.labels, self.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """The adapted model after training: the weights of the best evaluation.

    With `finetune=none` it is the adapted model as it was: no steps, and what only training could
    tell is None.
    """

    adapted: AdaptedModel
    folder: Path
    """The adapter in PEFT's own format, its head included; with `finetune=none` that of
    `adapted`."""
    steps: int
    """Optimizer steps taken."""
    best_step: int
    """Step after which the kept weights were evaluated."""
    metric: str | None = None
    """Name of the metric that chose them, such as `macro_f1`."""
    best_metric: float | None = None
    """Its value on the validation split."""
    train_loss: float | None = None
    """Mean training loss of the last epoch, nats."""
    processes: int = 0
    """How many processes trained."""
    device: str | None = None
    """What they trained on: `cpu` or `cuda`."""
    precision: str | None = None
    """Of the forward pass: `no` is float32, else `bf16` or `fp16`."""
    per_device_train_batch_size: int | None = None
    """Most rows at once on one device: what was asked for, or less if that did not fit."""
    unlearned: tuple[str, ...] = ()
    """Modules that train, but whose gradient was exactly zero at every step."""

    def load(self) -> PeftModel:
        """Return base and trained adapter together, in eval mode, on the CPU."""
        return self.adapted.base.load_adapter(self.adapted.labels, self.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """Everything that leaves the pipeline, each file proven to compute what was trained.

    Of a model that was not trained there are the two pictures alone, without values.
    """

    view: Path
    """The folded ONNX graph for people: adapters and blocks are one node each. Its weights lie
    beside it in the file of `adapted`, if there is one."""
    base_view: Path
    """The base model without adapters, folded the same way: nodes of one module have one name in
    both. Shapes alone, no values."""
    placement: Path
    """`placement.json`, with what each module costs and what training changed in it."""
    adapted: Path | None = None
    """ONNX with the adapter as a branch of its own, flat, for tools."""
    merged: Path | None = None
    """ONNX with the adapter added into the base weights."""
    merged_model: Path | None = None
    """The merged model as a transformers folder."""
    adapter: Path | None = None
    """The adapter as a PEFT folder."""
    parity: Path | None = None
    """`parity.json`: the differences found and the task metrics of each format."""
    largest_difference: float | None = None
    """The largest of those differences, in units of the largest logit."""
    preview: Path | None = None
    """`preview.json` of the examples, if there were any."""
    test_metrics: Mapping[str, float] = field(default_factory=dict)
    """The task's metrics of the trained model on the test split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A static folder that any web server can serve: Netron and the graph, `index.html` first."""

    folder: Path
    open: str
    """`auto`, `always` or `never`: whether to show it to the user when the run is over."""
    port: int = 0
    """On localhost, while it is shown; 0 stands for any free one."""
