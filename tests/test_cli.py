"""The command as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets", "onnx", "onnxruntime", "netron")


def pipeline(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def imported(*arguments: str, cwd: Path) -> set[str]:
    """Run the command and return which heavy libraries it imported."""
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['pipeline', *{arguments!r}]\n"
        "try: runpy.run_module('pipeline', run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"print('imported', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_names_the_recipes_the_groups_and_the_commands(tmp_path: Path) -> None:
    done = pipeline("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "recipe: lora_bert" in done.stdout
    assert "data: csv, hub, jsonl, parquet, support" in done.stdout
    assert "python -m pipeline open" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["+recipe=lora_bert", "adapter.rr=4"], ["+recipe=lora_bert", "--cfg", "job"]],
    ids=["help", "mistake", "cfg"],
)
def test_answer_imports_no_deep_learning_library(arguments: list[str], tmp_path: Path) -> None:
    assert imported(*arguments, cwd=tmp_path) == set()


def test_two_mistakes_are_both_named_with_suggestions_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    done = pipeline("+recipe=lora_bert", "adapter.rr=4", "data.batchsize=x", cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert any(
        line.startswith("error: adapter.rr: unknown key; did you mean 'r'?") for line in lines
    )
    assert any(line.startswith("error: data.batchsize: unknown key") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_mistake_answers_in_a_second_of_processor_time(tmp_path: Path) -> None:
    """A budget against heavy imports; in processor time, so that a busy machine passes."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pipeline("+recipe=lora_bert", "adapter.rr=4", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 2.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["+recipe=lora_bret"], "recipe: no recipe 'lora_bret'; did you mean 'lora_bert'?"),
        (["+recipe=lora_bert", "model=minlm"], "model: no model 'minlm'; did you mean 'minilm'?"),
        (["+recipe=../../x"], "recipe"),
        (["+recipe=lora_bert", "lrr=3"], "lrr: unknown key"),
        (["+recipe=lora_bert", "name=a=b"], "name=a=b"),
        (["+recipe=lora_bert", "seed=${nope}"], "nope"),
        (["recipe=lora_bert", "adapter.r=0"], "adapter.r must be a whole number of at least 1"),
        ([], "no recipe given; try `python -m pipeline +recipe=lora_bert`"),
        (["open"], "open: takes one run folder"),
        (["open", "nowhere"], "open: nowhere does not exist"),
        (["--config-dir", "nowhere", "+recipe=mine"], "--config-dir: no such folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line_exit_2_and_no_traceback(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    done = pipeline(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_cfg_shows_what_recipe_and_override_made(tmp_path: Path) -> None:
    done = pipeline("+recipe=lora_bert", "adapter.r=4", "--cfg", "job", cwd=tmp_path)
    assert "name: lora_bert" in done.stdout
    assert "r: 4" in done.stdout


TINY = (
    "model=random_bert",
    "data=jsonl",
    "finetune.num_train_epochs=1",
    "visualize.open=never",
    "visualize.weights=false",
)


@pytest.mark.slow
def test_whole_run_leaves_a_true_manifest_and_a_view(tmp_path: Path) -> None:
    import json

    from conftest import write_rows

    rows = write_rows(tmp_path / "rows.jsonl", 60)
    done = pipeline("+recipe=lora_bert", *TINY, f"data.train={rows}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = (tmp_path / "outputs/lora_bert/latest").resolve()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert [stage["stage"] for stage in manifest["stages"]] == [
        "model", "data", "adapter", "finetune", "export", "visualize",
    ]  # fmt: skip
    assert (run / "6_visualize/index.html").is_file()
    assert (run / ".hydra/config.yaml").is_file()
    assert (run / "pipeline.log").stat().st_size > 0
    assert f"python -m pipeline open {run.relative_to(tmp_path)}" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.slow
def test_users_own_recipe_and_stage_class_run_from_outside(tmp_path: Path) -> None:
    import json

    from conftest import write_rows

    (tmp_path / "mine/recipe").mkdir(parents=True)
    (tmp_path / "mine/data").mkdir()
    (tmp_path / "mine/recipe/my_lora.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - lora_bert\n  - override /model: random_bert\n  - override /data: mine\n"
        "  - _self_\n"
        "name: my_lora\nadapter: {r: 2}\nfinetune: {num_train_epochs: 1}\n"
        "visualize: {open: never}\n"
    )
    (tmp_path / "mine/data/mine.yaml").write_text(
        "defaults:\n  - jsonl\n  - _self_\n_target_: my_stages.Shouted\n"
    )
    (tmp_path / "my_stages.py").write_text(
        "from dataclasses import dataclass\n"
        "from pipeline.data import Files\n"
        "@dataclass(frozen=True, kw_only=True, slots=True)\n"
        "class Shouted(Files):\n"
        "    def load(self):\n"
        "        print('SHOUTED')\n"
        "        return Files.load(self)\n"
    )
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    done = pipeline("--config-dir", "mine", "+recipe=my_lora", f"data.train={rows}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SHOUTED" in done.stdout
    manifest = json.loads((tmp_path / "outputs/my_lora/latest/manifest.json").read_text())
    assert manifest["stages"][1]["by"] == "my_stages.Shouted"
    assert manifest["stages"][2]["settings"]["r"] == 2


@pytest.mark.slow
def test_failure_is_one_line_in_the_terminal_and_recorded_in_the_manifest(tmp_path: Path) -> None:
    import json

    from conftest import write_rows

    rows = write_rows(tmp_path / "rows.jsonl", 60)
    done = pipeline(
        "+recipe=lora_bert", *TINY, f"data.train={rows}",
        "adapter.target_modules=[query,vaule]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "'vaule' matches no module; did you mean 'value'?" in errors[0]
    assert "Traceback" not in done.stderr
    run = tmp_path / "outputs/lora_bert/latest"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert [stage["status"] for stage in manifest["stages"]] == ["done", "done", "failed"]
    assert "Traceback" in (run / "pipeline.log").read_text()


@pytest.mark.slow
def test_sweep_runs_every_job_in_a_folder_of_its_own(tmp_path: Path) -> None:
    from conftest import write_rows

    rows = write_rows(tmp_path / "rows.jsonl", 60)
    done = pipeline(
        "--multirun", "+recipe=lora_bert", *TINY, f"data.train={rows}", "adapter.r=2,4",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "outputs/lora_bert").glob("multirun_*")
    assert (sweep / "0/manifest.json").is_file()
    assert (sweep / "1/manifest.json").is_file()


def test_installed_command_is_the_same(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("graft")
    if not command.is_file():
        pytest.skip("the project is not installed in this environment")
    done = subprocess.run(
        [str(command), "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == pipeline("--help", cwd=tmp_path).stdout
