"""The stage: what is exported, in which order, and what is checked before any of it counts."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Examples, ExportedModel, TrainedModel
from pipeline.errors import CheckError
from pipeline.tasks import task_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftModel
    from transformers import PreTrainedModel

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
        """Export, compare, and refuse to publish what differs.

        Raises:
            CheckError: A format differs by more than `tolerance`, an adapter changes nothing
                although it was trained, or a weight is not finite. The message has the numbers.
        """
        from pipeline.export.graph import fold, save, trace
        from pipeline.export.parity import Parity

        trained, examples = given
        base = trained.adapted.base
        task, tokenizer = task_named(base.task), base.load_tokenizer()
        model = trained.load()
        _check_finite(model)
        parity = Parity(task, examples.load("test"), task.collate(tokenizer), self.tolerance)
        sample = parity.sample
        axes = task.dynamic_axes(tuple(sample))
        files = folder / "onnx"
        files.mkdir()
        adapted, view, merged = (
            files / name for name in ("adapted.onnx", "adapted.view.onnx", "merged.onnx")
        )

        flat = trace(model, sample, axes, opset=self.opset)
        save(flat, adapted, weights="adapted.onnx.data")
        folded = fold(
            flat,
            trained.adapted.placement,
            title=type(model.get_base_model()).__name__,
            facts=_facts(trained, model),
        )
        save(folded, view, weights="adapted.onnx.data")
        del flat, folded
        plain = base.architecture(examples.labels)
        nothing = replace(trained.adapted.placement, modules=(), trainable=0)
        meta = {name: value.to("meta") for name, value in sample.items()}
        folded = fold(
            trace(plain, meta, axes, opset=self.opset),
            nothing,
            title=type(plain).__name__,
            facts={"base_model": base.name},
        )
        base_view = files / "base.view.onnx"
        save(folded, base_view, weights=None)
        trained.adapted.placement.save(folder / "placement.json")
        parity.reference(model)
        parity.effect_of_adapter(model, must_differ=trained.steps > 0)

        _save_transformers(model.merge_and_unload(), base, folder / "merged")
        shutil.copytree(trained.folder, folder / "adapter")
        del model
        # What was written is what is asked: both folders are loaded as a user would load them.
        plain = base.load_merged(folder / "merged")
        parity.torch_model("merged/", plain)
        parity.torch_model("adapter/", base.load_adapter(examples.labels, folder / "adapter"))
        save(trace(plain, sample, axes, opset=self.opset), merged, weights="merged.onnx.data")
        for file in (adapted, view, merged):
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
            adapted=adapted,
            merged=merged,
            merged_model=folder / "merged",
            adapter=folder / "adapter",
            parity=folder / "parity.json",
            largest_difference=report.largest_difference,
            test_metrics={
                name: value for name, value in report.reference.items() if name != "difference"
            },
        )


def _check_finite(model: PeftModel) -> None:
    bad = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    if bad:
        raise CheckError(
            f"export: {len(bad)} weights hold NaN or infinity, first: {bad[0]}; nothing is exported"
        )


def _save_transformers(model: PreTrainedModel, base: BaseModel, folder: Path) -> None:
    model.save_pretrained(folder)
    base.load_tokenizer().save_pretrained(folder)


def _facts(trained: TrainedModel, model: PeftModel) -> Mapping[str, str]:
    """Return what a reader of the graph wants to know about the run."""
    settings = model.peft_config["default"].to_dict()
    shown = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora")
    targets = settings.get("target_modules")
    if isinstance(targets, set | list | tuple):
        settings["target_modules"] = ", ".join(sorted(targets))
    return {
        "base_model": trained.adapted.base.name,
        **{f"peft.{key}": str(settings[key]) for key in shown if key in settings},
        "trained.steps": str(trained.steps),
        f"validation.{trained.metric}": f"{trained.best_metric or 0:.4f}",
    }
