"""The command as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import check
from pipeline.errors import ConfigError
from pipeline.shipped import recipe_names

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
    assert f"recipe: {', '.join(recipe_names())}" in done.stdout
    assert "lora_bert" in recipe_names()
    assert "data: csv, digits, hub, image_folder, instructions, jsonl, none, parquet, support" in (
        done.stdout
    )
    assert "python -m pipeline open" in done.stdout
    assert "python -m pipeline compare RUN RUN" in done.stdout


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
        (["+recipe=lora_bert", "name=" + 300 * "a"], "name: must be at most 200 bytes long"),
        (["+recipe=lora_bert", "hydra.run.dir=${nope}"], "hydra.run.dir: "),
        (["--run", "+recipe=lora_bert", "adapter.rr=4"], "adapter.rr: unknown key"),
        (["--multirun", "+recipe=lora_bret"], "recipe: no recipe 'lora_bret'; did you mean"),
        (["-m", "+recipe=lora_bert", "model=glob(x*)"], "model: no value to sweep over, got glob"),
        (["--cfg", "job", "+recipe=lora_bret"], "recipe: no recipe 'lora_bret'; did you mean"),
        (["--info", "all", "+recipe=lora_bret"], "recipe: no recipe 'lora_bret'; did you mean"),
        (["--help", "+recipe=lora_bret"], "recipe: no recipe 'lora_bret'; did you mean"),
        (["--config-name", "mine"], "Cannot find primary config 'mine'"),
        (["--config-name"], "expected one argument"),
        (["--confg", "job"], "unrecognized arguments: --confg"),
        (["open"], "open: takes one run folder"),
        (["open", "a", "b"], "open: takes one run folder"),
        (["open", "a", "70000"], "a port up to 65535"),
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


@pytest.mark.parametrize("flag", ["--multirun", "-m"])
def test_mistakes_of_all_jobs_of_a_sweep_are_named_once_before_the_first_starts(
    flag: str, tmp_path: Path
) -> None:
    done = pipeline(
        flag, "+recipe=lora_bert", "adapter.rr=4,5", "model=minilm,minlm", "seed=range(-1,1)",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    said = sorted(line.partition(";")[0] for line in done.stderr.splitlines())
    assert said == [
        "error: adapter.rr: unknown key",
        "error: model: no model 'minlm'",
        "error: seed: must be a whole number from 0 to 4294967295, got -1",
    ]
    assert list(tmp_path.iterdir()) == []


def test_of_an_endless_sweep_the_first_values_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_MOST_VALUES", 3)
    arguments = ["-m", "+recipe=lora_bert", "seed=range(-1,1000000000)", "adapter.r=0,1"]
    with pytest.raises(ConfigError) as caught:
        check.check(arguments)
    assert sorted(str(caught.value).splitlines()) == [
        "adapter.r must be a whole number of at least 1, got 0",
        "seed: must be a whole number from 0 to 4294967295, got -1",
    ]


def test_a_sweep_that_only_its_sweeper_can_list_is_left_to_it() -> None:
    asked = check.check(["-m", "+recipe=lora_bert", "adapter.lora_dropout=interval(0,1)"])
    assert asked.arguments[-1] == "++adapter.lora_dropout=interval(0,1)"


def test_flags_may_stand_anywhere() -> None:
    asked = check.check(["+recipe=lora_bert", "--config-name", "config", "adapter.r=4", "-m"])
    assert asked.arguments == [
        "--multirun", "--config-name=config", "+recipe=lora_bert", "++adapter.r=4",
    ]  # fmt: skip
    assert asked.sweeping


def test_cfg_shows_what_recipe_and_override_made(tmp_path: Path) -> None:
    done = pipeline("+recipe=lora_bert", "adapter.r=4", "--cfg", "job", cwd=tmp_path)
    assert "name: lora_bert" in done.stdout
    assert "r: 4" in done.stdout


def test_config_folder_may_have_any_name_and_its_options_are_found(tmp_path: Path) -> None:
    mine = tmp_path / "my dir (1), x=y"
    (mine / "launch").mkdir(parents=True)
    (mine / "launch/mine.yaml").write_text("_target_: pipeline.launch.Local\nnope: 1\n")
    done = pipeline("--config-dir", mine.name, "+recipe=lora_bert", "launch=mine", cwd=tmp_path)
    assert done.stderr == "error: launch.nope: unknown key. Known keys: none\n"


def test_option_of_the_user_with_a_shipped_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine/adapter").mkdir(parents=True)
    (tmp_path / "mine/adapter/lora.yaml").write_text("r: 777\n")
    done = pipeline("--config-dir", "mine", "+recipe=lora_bert", "adapter=lora", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "adapter: 'lora' is shipped, so" in done.stderr
    assert "mine/adapter/lora.yaml would be ignored; rename your file" in done.stderr


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("class:\n", "cannot import 'my_stages': SyntaxError: invalid syntax"),
        ("1 / 0\n", "cannot import 'my_stages': ZeroDivisionError: division by zero"),
        ("x = 1\n", "'my_stages' has no 'Mine'"),
    ],
)
@pytest.mark.parametrize("command", ["python -m pipeline", "graft"])
def test_module_in_the_folder_one_is_in_is_found_and_its_mistake_is_one_line(
    code: str, says: str, command: str, tmp_path: Path
) -> None:
    (tmp_path / "my_stages.py").write_text(code)
    graft = Path(sys.executable).with_name("graft")
    if command == "graft" and not graft.is_file():
        pytest.skip("the project is not installed in this environment")
    words = [str(graft)] if command == "graft" else [sys.executable, "-m", "pipeline"]
    done = subprocess.run(
        [*words, "+recipe=lora_bert", "adapter._target_=my_stages.Mine", "allow_code=my_stages"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"adapter._target_: {says}" in done.stderr


@pytest.mark.parametrize("flag", ["--shell-completion", "-sc"])
def test_shell_completion_prints_a_script(flag: str, tmp_path: Path) -> None:
    done = pipeline(flag, "install=bash", cwd=tmp_path)
    assert done.returncode == 0
    assert "hydra_bash_completion()" in done.stdout
    subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


STAGES = """
import time
from dataclasses import dataclass
from pathlib import Path
from pipeline.errors import StageError

@dataclass(frozen=True, kw_only=True, slots=True)
class Mine:
    does: str

    def run(self, given, folder):
        if self.does == "sleep":
            (folder / "half.txt").write_text("half")
            Path("asleep").touch()
            time.sleep(60)
        if self.does == "refuse":
            raise StageError("model: no")
        raise KeyError("a bug")
"""


def mine(folder: Path, does: str) -> list[str]:
    """Put a stage `model` there that does one thing; return the arguments to run it."""
    (folder / "mine/model").mkdir(parents=True)
    (folder / "mine/model/mine.yaml").write_text(f"_target_: my_stages.Mine\ndoes: {does}\n")
    (folder / "my_stages.py").write_text(STAGES)
    return ["--config-dir", "mine", "name=mine", "model=mine", "allow_code=my_stages"]


def manifest(run: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads((run / "manifest.json").read_text())
    return told


def test_bug_leaves_its_trace_in_the_log_of_the_run(tmp_path: Path) -> None:
    done = pipeline(*mine(tmp_path, "break"), cwd=tmp_path)
    assert done.returncode == 1
    assert "KeyError: 'a bug'" in done.stderr
    run = tmp_path / "outputs/mine/latest"
    assert "KeyError: 'a bug'" in (run / "pipeline.log").read_text()
    assert manifest(run)["status"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_stopped_run_is_recorded_as_stopped(number: signal.Signals, tmp_path: Path) -> None:
    arguments = mine(tmp_path, "sleep")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup ignores it
    )
    end = time.monotonic() + 60
    while not (tmp_path / "asleep").exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    run = tmp_path / "outputs/mine/latest"
    told = manifest(run)
    assert told["status"] == "stopped"
    assert told["process"] == {"pid": process.pid, "host": os.uname().nodename}
    assert (run / "1_model.failed/half.txt").read_text() == "half"


def test_every_job_of_a_sweep_runs_and_a_failed_one_gives_the_exit_code(tmp_path: Path) -> None:
    done = pipeline("-m", *mine(tmp_path, "refuse"), "seed=1,2", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: model: no"
    assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "outputs/mine").iterdir()  # and no `latest` beside or inside
    there = sorted(each.name for each in sweep.iterdir())
    assert there == [".lock", "0", "1", "multirun.yaml"]
    assert manifest(sweep / "1")["status"] == "failed"


def test_run_in_a_folder_of_the_users_choice_touches_nothing_around_it(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("mine")
    done = pipeline(*mine(tmp_path, "refuse"), "hydra.run.dir=my run", cwd=tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "latest").read_text() == "mine"
    assert not (tmp_path / "latest").is_symlink()
    before = (tmp_path / "my run/manifest.json").read_bytes()

    again = pipeline("+recipe=lora_bert", "hydra.run.dir=my run", cwd=tmp_path)
    assert again.returncode == 2
    (line,) = again.stderr.splitlines()
    assert line.startswith("error: hydra.run.dir: my run holds a run that was started otherwise: ")
    assert line.endswith("; undo the change, or choose another folder")
    assert (tmp_path / "my run/manifest.json").read_bytes() == before
    assert "model=mine" in (tmp_path / "my run/.hydra/overrides.yaml").read_text()


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize(
    ("place", "code", "says"),
    [
        ("/proc/nowhere", 3, "cannot write to /proc/nowhere: "),
        ("file/inside", 2, "file is a file, not a folder"),
        ("long", 2, "File name too long: xxx"),
    ],
)
def test_folder_that_cannot_be_written_is_one_line(
    kind: str, place: str, code: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    place = place if place != "long" else 300 * "x"
    flag = ["--multirun"] if kind == "sweep" else []
    done = pipeline(*flag, "+recipe=lora_bert", f"hydra.{kind}.dir={place}", cwd=tmp_path)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: hydra.{kind}.dir: {says}")


TINY = (
    "model=random_bert",
    "data=jsonl",
    "finetune.num_train_epochs=1",
    "visualize.open=never",
    "visualize.pictures=never",
    "visualize.weights=false",
)


@pytest.mark.slow
def test_whole_run_leaves_a_true_manifest_and_a_view(tmp_path: Path) -> None:
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
        "from pipeline.data import JsonLines\n"
        "@dataclass(frozen=True, kw_only=True, slots=True)\n"
        "class Shouted(JsonLines):\n"
        "    def load(self):\n"
        "        print('SHOUTED')\n"
        "        return JsonLines.load(self)\n"
    )
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    done = pipeline(
        "--config-dir", "mine", "+recipe=my_lora", f"data.train={rows}", "allow_code=my_stages",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SHOUTED" in done.stdout
    manifest = json.loads((tmp_path / "outputs/my_lora/latest/manifest.json").read_text())
    assert manifest["allow_code"] == ["my_stages"]
    assert manifest["stages"][1]["by"] == "my_stages.Shouted"
    assert manifest["stages"][2]["settings"]["r"] == 2


@pytest.mark.slow
def test_failure_is_one_line_in_the_terminal_and_recorded_in_the_manifest(tmp_path: Path) -> None:
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
    assert f"error: {manifest['error']['message']}" == errors[0]
    assert manifest["stages"] == []  # it was seen before the first stage
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
