"""The command that shows what a recipe would train, before it trains."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["+recipe=lora_bert", "model=random_bert", "finetune=none"],
        ["+recipe=lora_bert", "model=random_bert", "model.weights=none", "finetune=none"],
        ["+recipe=inspect_llama3_8b"],
    ],
    ids=["without training", "without weights", "a model of eight billion"],
)
def test_a_recipe_can_be_looked_at(arguments: list[str], tmp_path: Path) -> None:
    quiet = ["visualize.open=never", "visualize.pictures=never"]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments, *quiet],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = next((tmp_path / "outputs").glob("*/latest"))
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "done"
    exported = (run / "5_export").resolve()
    files = (file for file in exported.rglob("*") if file.is_file())
    rows = ["preview.json"] if "lora_bert" in arguments[0] else []  # the others have no data
    assert sorted(file.relative_to(exported).as_posix() for file in files) == [
        "onnx/adapted.view.onnx", "onnx/base.view.onnx", "placement.json", *rows,
    ]  # fmt: skip
    assert (run / "6_visualize" / "index.html").is_file()
    assert (run / "6_visualize" / "compare.html").is_file()
    everything = (tmp_path / "outputs").rglob("*")  # the store too, where the stages' files lie
    largest = max(file.stat().st_size for file in everything if file.is_file())
    assert largest < 5e6, "somewhere there are weights"
