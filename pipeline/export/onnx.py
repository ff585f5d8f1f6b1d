"""The stage: what is exported, in which order, and what is checked before any of it counts."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Examples, ExportedModel, TrainedModel
from pipeline.errors import CheckError
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftModel

    from pipeline.artifacts import BaseModel

__all__ = ["Onnx"]

log = logging.getLogger(__name__)

_OLDEST_OPSET, _NEWEST_OPSET = 18, 25


@dataclass(frozen=True, kw_only=True, slots=True)
class Onnx:
    """ONNX with the adapter beside the weights and merged into them, transformers, and PEFT."""

    opset: int
    """ONNX operator set of the files, 18 to 25."""
    tolerance: float
    """Largest difference of any logit between two formats, in units of the largest logit."""

    def __post_init__(self) -> None:
        if not _OLDEST_OPSET <= self.opset <= _NEWEST_OPSET:
            raise ValueError(
                f"opset must be from {_OLDEST_OPSET} to {_NEWEST_OPSET}, got {self.opset}"
            )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be between 0 and 1, got {self.tolerance}")

    def run(self, given: tuple[TrainedModel, Examples], folder: Path) -> ExportedModel:
        """Export, compare, and refuse to publish what differs; of an untrained model, draw it.

        Raises:
            CheckError: A format differs by more than `tolerance`, an adapter changes nothing
                although it was trained, or a weight is not finite. The message has the numbers.
        """
        trained, examples = given
        if trained.steps == 0:
            return self._draw(trained, examples, folder)
        return self._export(trained, examples, folder)

    def look(self, given: tuple[TrainedModel, Examples], folder: Path) -> ExportedModel:
        """Return where the pictures would be: nothing can be said before there are weights."""
        return ExportedModel(
            view=folder / "onnx" / "adapted.view.onnx",
            base_view=folder / "onnx" / "base.view.onnx",
            placement=folder / "placement.json",
        )

    def _draw(self, trained: TrainedModel, examples: Examples, folder: Path) -> ExportedModel:
        """Write the two pictures of a model that was not trained: shapes, no values."""
        from pipeline.export.beside import Beside
        from pipeline.export.graph import save
        from pipeline.export.picture import Architecture, bare, with_operations

        adapted = trained.adapted
        base, files = adapted.base, folder / "onnx"
        files.mkdir()
        task = task_named(base.task)
        sample = task.example(base)
        axes = task.dynamic_axes(tuple(sample))
        plain, model = base.architecture(adapted.labels), adapted.architecture()
        title = type(plain).__name__

        def draw_base() -> tuple[Mapping[str, float], str]:
            drawn = Architecture(plain, sample, axes, opset=self.opset)
            placement = bare(plain, drawn.operations, drawn.per)
            view = drawn.view(placement, title=title, facts=_about(base))
            save(view, files / "base.view.onnx", weights=None)
            return drawn.operations, drawn.per

        with Beside(draw_base) as before:
            after = Architecture(model, sample, axes, opset=self.opset)
            operations, per = before.result()
        placement = with_operations(adapted.placement, operations, after.operations, per)
        placement.save(folder / "placement.json")
        view = after.view(placement, title=title, facts=_facts(trained, model))
        save(view, files / "adapted.view.onnx", weights=None)
        log.info("    drawn without values: there is nothing trained to export")
        return ExportedModel(
            view=files / "adapted.view.onnx",
            base_view=files / "base.view.onnx",
            placement=folder / "placement.json",
            preview=_preview(examples, folder),
        )

    def _export(self, trained: TrainedModel, examples: Examples, folder: Path) -> ExportedModel:
        from pipeline.export.graph import fold, gather, save, trace
        from pipeline.export.parity import Parity
        from pipeline.export.picture import Architecture, bare, operations, with_operations
        from pipeline.export.switch import changes_base, switchable
        from pipeline.export.updates import with_updates

        base, files = trained.adapted.base, folder / "onnx"
        task = task_named(base.task)
        model = trained.load()
        _check_finite(model)
        files.mkdir()
        parity = Parity(
            task, examples.load("test"), task.collate(base), self.tolerance, examples.labels
        )
        sample = parity.sample
        axes = task.dynamic_axes(tuple(sample))
        adapted, view, base_view = (
            files / name for name in ("adapted.onnx", "adapted.view.onnx", "base.view.onnx")
        )
        origin = base.load(examples.labels) if changes_base(model) else None
        plain = base.architecture(examples.labels)
        before = Architecture(plain, sample, axes, opset=self.opset)
        flat = trace(model, sample, axes, opset=self.opset)
        placement = with_updates(
            with_operations(
                trained.adapted.placement, before.operations, operations(flat), before.per
            ),
            model,
            trained.adapted.folder,
            trained.folder,
            origin,
        )
        placement.save(folder / "placement.json")
        title = type(plain).__name__
        save(flat, adapted, weights="adapted.onnx.data")
        folded = fold(flat, placement, title=title, facts=_facts(trained, model))
        gather(folded)
        save(folded, view, weights="adapted.onnx.data")
        nothing = bare(plain, before.operations, before.per)
        drawn = before.view(nothing, title=title, facts=_about(base))
        save(drawn, base_view, weights=None)
        del flat, folded, drawn, before, plain
        parity.reference(model)
        if (switch := switchable(model, origin)) is not None:
            parity.effect_of_adapter(switch, must_differ=True)
        del switch, origin
        formats = {"adapted": adapted, **_folders(model, trained, folder)}
        del model
        # What was written is what is asked: both folders are loaded as a user would load them.
        if "merged_model" in formats:
            plain = base.load_merged(formats["merged_model"])
            parity.torch_model("merged/", plain)
            formats["merged"] = files / "merged.onnx"
            flat = trace(plain, sample, axes, opset=self.opset)
            save(flat, formats["merged"], weights="merged.onnx.data")
            del plain, flat
        if "adapter" in formats:
            parity.torch_model("adapter/", base.load_adapter(examples.labels, formats["adapter"]))
        for file in (adapted, view, formats.get("merged")):
            if file is not None:
                parity.onnx_file(file)

        report = parity.report()
        report.save(folder / "parity.json")
        for line in report.lines():
            log.info("    %s", line)
        report.assert_within_tolerance()
        return ExportedModel(
            view=view,
            base_view=base_view,
            placement=folder / "placement.json",
            **formats,
            parity=folder / "parity.json",
            preview=_preview(examples, folder),
            largest_difference=report.largest_difference,
            test_metrics={
                name: value for name, value in report.reference.items() if name != "difference"
            },
        )


def _preview(examples: Examples, folder: Path) -> Path | None:
    if examples.preview is None:
        return None
    return Path(shutil.copyfile(examples.preview, folder / "preview.json"))


def _check_finite(model: PeftModel) -> None:
    bad = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if bad:
        raise CheckError(
            f"export: {len(bad)} weights hold NaN or infinity, first: {bad[0]}; nothing is exported"
        )


def _folders(model: PeftModel, trained: TrainedModel, folder: Path) -> dict[str, Path]:
    """Write the folders that users load, by the fields of `ExportedModel`.

    The model is of no use afterwards.
    """
    from pipeline.export.merging import merged

    found = {}
    # A model that was trained in full is what the merged folder holds, and no adapter.
    if not getattr(model, "everything_trains", False):
        found["adapter"] = folder / "adapter"
        shutil.copytree(trained.folder, found["adapter"])
    if (whole := merged(model)) is not None:
        found["merged_model"] = folder / "merged"
        whole.save_pretrained(found["merged_model"])
        base = trained.adapted.base
        task_named(base.task).save_processor(base, found["merged_model"])
    return found


def _facts(trained: TrainedModel, model: PeftModel) -> Mapping[str, str]:
    """Return what a reader of the graph wants to know about the run."""
    settings = model.peft_config["default"].to_dict()
    shown = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora",
             "non_linearity")  # fmt: skip
    targets = settings.get("target_modules")
    if isinstance(targets, set | list | tuple):
        settings["target_modules"] = ", ".join(sorted(targets))
    told = {
        **_about(trained.adapted.base),
        **{f"peft.{key}": str(settings[key]) for key in shown if key in settings},
        "trained.steps": str(trained.steps),
    }
    if trained.best_metric is not None:
        told[f"validation.{trained.metric}"] = f"{trained.best_metric:.4f}"
    return told


def _about(base: BaseModel) -> dict[str, str]:
    told = {"base_model": base.name}
    if base.revision is not None:
        told["base_revision"] = base.revision
    for file in base.weights:
        told[f"base_weights.{file.path.name}"] = f"sha256 {file.sha256}"
    return told
