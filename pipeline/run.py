"""The whole path, on one page. Start reading here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.artifacts import View
    from pipeline.stage import Plan, Runner

__all__ = ["run_pipeline"]


def run_pipeline(plan: Plan, record: Runner) -> View:
    """Run the stages of `plan` in order; each result lands in the run folder of `record`."""
    base = record.run("model", plan.model, None)
    examples = record.run("data", plan.data, base)
    adapted = record.run("adapter", plan.adapter, (base, examples))
    trained = record.run("finetune", plan.launch.place(plan.finetune), (adapted, examples))
    exported = record.run("export", plan.export, (trained, examples))
    return record.run("visualize", plan.visualize, exported)
