"""Several processes: one result, one cause when they fail, and none left behind."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import psutil
import pytest
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from pipeline import worker
from pipeline.artifacts import AdaptedModel, BaseModel, Examples, HashedFile, TrainedModel
from pipeline.build import build_stage
from pipeline.errors import CheckError, ConfigError, MachineError, StoppedError
from pipeline.launch import Local, MultiGpu, assert_asked_processes, is_follower
from pipeline.launch.follow import _asked
from pipeline.launch.job import Failure, Job
from pipeline.launch.local import Joined
from pipeline.launch.multi_gpu import _cause
from pipeline.launch.processes import Ended
from pipeline.seal import flaw
from pipeline.shipped import shipped_folder

# This module is imported by every worker that runs `Stand`: torch would make each start slower.

TESTS = Path(__file__).parent
Does = Literal["nothing", "die", "leave", "refuse", "break", "log", "hang", "stay", "stop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """Stands in for a training; rank 1 does what `does` says, rank 0 waits for it."""

    does: Does
    device: str = "cpu"

    def run(self, given: tuple[AdaptedModel, Examples], folder: Path) -> TrainedModel:
        rank = int(os.environ.get("RANK", "0"))
        if self.does != "stay":
            (folder / f"pid-{rank}").write_text(str(os.getpid()))
        if rank == 1 and self.does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == 1 and self.does == "leave":
            os._exit(5)
        if rank == 1 and self.does == "refuse":
            raise CheckError("finetune: the training loss is nan at step 3")
        if rank == 1 and self.does == "break":
            raise KeyError("a bug")
        if self.does == "stay":
            signal.signal(signal.SIGTERM, lambda *_: (folder / f"heard-{rank}").touch())
            (folder / f"pid-{rank}").write_text(str(os.getpid()))
            while True:
                time.sleep(1)
        if self.does == "stop":
            raise StoppedError("finetune: stopped by SIGTERM after step 3 of 9", signal.SIGTERM)
        if self.does == "log":
            logging.getLogger("pipeline.finetune").info("epoch 1 of 1")
        if self.does in ("die", "leave", "refuse", "break", "hang"):
            time.sleep(60)
        return TrainedModel(
            adapted=given[0],
            folder=folder / "adapter",
            steps=int(os.environ.get("WORLD_SIZE", "1")),
            best_step=1,
            metric="macro_f1",
            best_metric=0.1 + 0.2,
            train_loss=1 / 3,
            processes=2,
            device="cpu",
            precision="no",
        )


def artifacts(folder: Path) -> tuple[AdaptedModel, Examples]:
    """Return artifacts with nothing behind them."""
    weights = HashedFile(path=folder / "model.safetensors", sha256="00", size=1)
    base = BaseModel(
        folder=folder,
        weights=(weights,),
        name="tiny@0",
        repo_id="tiny@0",
        revision=None,
        source="tiny@0",
        task="sequence_classification",
        auto_class="AutoModelForSequenceClassification",
    )
    adapted = AdaptedModel(base=base, labels=("a", "b"), folder=folder, trainable=1, total=2)
    examples = Examples(
        folder=folder,
        task="sequence_classification",
        sources=(),
        revision=None,
        labels=("a", "b"),
        train_rows=3,
        validation_rows=2,
        test_rows=1,
        longest=9,
        mean_length=4.5,
    )
    return adapted, examples


def in_two(does: Does, folder: Path) -> TrainedModel:
    stage = MultiGpu(num_processes=2, main_process_port=None).place(Stand(does=does))
    return stage.run(artifacts(folder), folder)


def is_alive(number: int) -> bool:
    return psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE


def wait_for(*files: Path) -> list[int]:
    """Return the process numbers that the workers write."""
    end = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < end, f"{files} were not written"
        time.sleep(0.1)
    return [int(file.read_text()) for file in files]


def wait_until_gone(numbers: Sequence[int], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while alive := [number for number in numbers if is_alive(number)]:
        assert time.monotonic() < end, f"left behind: {alive}"
        time.sleep(0.1)


class Start(Protocol):
    def __call__(self, command: Sequence[str], code: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a launcher with a script, in the environment of the tests; ends it afterwards."""
    started = []

    def start(command: Sequence[str], code: str) -> subprocess.Popen[str]:
        script = tmp_path / "script.py"
        script.write_text(f"import sys\nsys.path[:0] = {[str(TESTS), str(TESTS.parent)]}\n{code}")
        process = subprocess.Popen(
            [sys.executable, *command, str(script)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
            process.kill()
            process.communicate()


# -- launch=multi_gpu -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_first_process_returns_its_artifact_and_nothing_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline")
    made = in_two("log", tmp_path)
    assert made == TrainedModel(
        adapted=artifacts(tmp_path)[0],
        folder=tmp_path / "adapter",
        steps=2,  # `Stand` puts the number of processes here
        best_step=1,
        metric="macro_f1",
        best_metric=0.1 + 0.2,
        train_loss=1 / 3,
        processes=2,
        device="cpu",
        precision="no",
    )
    assert {file.name for file in tmp_path.iterdir()} == {"pid-0", "pid-1"}
    said = [record.getMessage() for record in caplog.records if record.name == "pipeline.finetune"]
    assert said == ["epoch 1 of 1"], "the first process is heard, and only that"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "error", "message"),
    [
        (
            "die",
            MachineError,
            "finetune: rank 1 was killed by signal 9 (SIGKILL), by hand or for want of memory",
        ),
        ("leave", MachineError, "finetune: rank 1 ended with exit code 5 and no word"),
        ("refuse", CheckError, "finetune: the training loss is nan at step 3"),
        ("stop", StoppedError, "finetune: stopped by SIGTERM after step 3 of 9"),
    ],
)
def test_a_failure_of_one_process_is_one_line(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    does: Does,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        in_two(does, tmp_path)
    assert str(caught.value) == message
    assert capfd.readouterr() == ("", "")
    wait_until_gone([int(file.read_text()) for file in tmp_path.glob("pid-*")])
    assert not (tmp_path / ".launch").exists()


@pytest.mark.slow
def test_a_bug_in_a_process_keeps_its_trace(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)^finetune: rank 1 failed.*KeyError: 'a bug'"):
        in_two("break", tmp_path)


@pytest.mark.slow
def test_a_rank_killed_in_real_training_is_the_cause_not_the_one_that_lost_it(
    tmp_path: Path,
) -> None:
    from test_finetune import make_adapted, make_base, make_examples, trainer

    adapted = make_adapted(tmp_path / "adapter", make_base(tmp_path / "base"))
    given = adapted, make_examples(tmp_path / "examples")
    folder = tmp_path / "out"
    folder.mkdir()

    def kill_second() -> None:
        while not (folder / "metrics.jsonl").exists():
            time.sleep(0.05)
        for each in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # one that is about to end has no environment
                if each.environ().get("RANK") == "1":
                    each.kill()

    threading.Thread(target=kill_second, daemon=True).start()
    stage = MultiGpu(num_processes=2, main_process_port=None).place(trainer(num_train_epochs=2000))
    with pytest.raises(MachineError, match=r"^finetune: rank 1 was killed by signal 9 \(SIGKILL\)"):
        stage.run(given, folder)


_LAUNCHER_SAYS = """
  rank      : {rank} (local_rank: {rank})
  exitcode  : {status} (pid: 7)
"""


@pytest.mark.parametrize(
    ("failures", "said", "cause"),
    [
        ([("LostProcessError", "MachineError")], {1: -9}, "rank 1 was killed by signal 9"),
        ([("RuntimeError", None)], {0: 1, 1: -11}, "rank 1 was killed by signal 11 (SIGSEGV)"),
        ([("CheckError", "CheckError")], {0: 4, 1: -9}, "told by 0"),
        ([("CheckError", "CheckError")], {0: 4, 1: -15}, "told by 0"),
        ([("LostProcessError", "MachineError"), ("StageError", "StageError")], {}, "told by 1"),
        ([("RuntimeError", None), ("StageError", "StageError")], {}, "told by 1"),
        ([("LostProcessError", "MachineError"), ("KeyError", None)], {}, "told by 1"),
        ([("LostProcessError", "MachineError")], {1: 3}, "rank 1 ended with exit code 3"),
        ([("LostProcessError", "MachineError")], {}, "told by 0"),
        ([], {}, "the launcher ended with exit code 1: no word"),
    ],
)
def test_the_cause_is_the_process_that_explains_most(
    tmp_path: Path, failures: list[tuple[str, str | None]], said: dict[int, int], cause: str
) -> None:
    for rank, (error, expected) in enumerate(failures):
        told = f"told by {rank}"
        Failure(rank=rank, error=error, expected=expected, message=told).write(tmp_path)
    lines = "".join(_LAUNCHER_SAYS.format(rank=rank, status=said[rank]) for rank in said)
    assert cause in str(_cause(tmp_path, lines, 1, processes=3))


_WAITED = (
    "finetune: another process ended, or gave no word for finetune.timeout=10 seconds: "
    "[gloo] Timed out waiting 10000ms for recv operation to complete"
)


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        (
            None,
            -9,
            "was killed by signal 9 (SIGKILL) after step 41, by hand or for want of memory",
        ),
        (None, 5, "ended with exit code 5 after step 41 and no word"),
        (
            _WAITED,
            -9,  # by the launcher, half a minute later
            "gave no word for finetune.timeout=10 seconds after step 41, and was ended",
        ),
    ],
)
def test_the_cause_says_how_far_it_came_and_where_it_goes_on(
    tmp_path: Path, error: str | None, status: int, what: str
) -> None:
    desk = tmp_path / ".launch"
    for name in ("checkpoint-8", "checkpoint-40", ".checkpoint-41", "checkpoint-44.damaged"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text('{"step": 40}\n{"step": 41}\n{"ste')
    desk.mkdir()
    if error is not None:
        lost = {"error": "LostProcessError", "expected": "MachineError", "message": error}
        Failure(rank=0, **lost).write(desk)  # type: ignore[arg-type]
    said = _LAUNCHER_SAYS.format(rank=1, status=status)
    then = "the same command goes on from checkpoint-40"
    assert str(_cause(desk, said, 1, processes=2)) == f"finetune: rank 1 {what}; {then}"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    code = """
        from pathlib import Path
        from test_launch import in_two
        in_two("hang", Path.cwd())
    """
    parent = start([], textwrap.dedent(code))
    workers = wait_for(tmp_path / "pid-0", tmp_path / "pid-1")
    launcher = [each.pid for each in psutil.Process(parent.pid).children()]
    parent.send_signal(number)
    parent.communicate(timeout=30)
    wait_until_gone([*workers, *launcher])
    assert parent.returncode == (128 + number if number == signal.SIGTERM else -number)


@pytest.mark.slow
def test_the_first_signal_goes_to_the_workers_and_the_second_ends_all(
    start: Start, tmp_path: Path
) -> None:
    code = """
        from pathlib import Path
        from test_launch import in_two
        in_two("stay", Path.cwd())
    """
    parent = start([], textwrap.dedent(code))
    workers = wait_for(tmp_path / "pid-0", tmp_path / "pid-1")
    parent.send_signal(signal.SIGTERM)
    end = time.monotonic() + 10
    while not all((tmp_path / f"heard-{rank}").exists() for rank in (0, 1)):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert all(is_alive(number) for number in [parent.pid, *workers])
    parent.send_signal(signal.SIGTERM)
    parent.communicate(timeout=30)
    wait_until_gone(workers)
    assert parent.returncode == 128 + signal.SIGTERM


def test_what_a_killed_attempt_left_on_its_desk_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".launch").mkdir()
    (tmp_path / ".launch" / "failure-1.json").write_text("{}")
    seen: list[set[str]] = []

    def listen(command: Sequence[str], *_: object) -> Ended:
        seen.append({each.name for each in Path(command[-1]).iterdir()})
        return Ended(code=1, said="no", number=0)

    monkeypatch.setattr("pipeline.launch.multi_gpu.run_and_listen", listen)
    with pytest.raises(MachineError, match="the launcher ended with exit code 1: no"):
        in_two("nothing", tmp_path)
    assert seen == [{"job.json"}]


def test_fewer_gpus_than_asked_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    stage = MultiGpu(num_processes=4, main_process_port=None).place(
        Stand(does="nothing", device="auto")
    )
    with pytest.raises(MachineError) as caught:
        stage.run(artifacts(tmp_path), tmp_path)
    assert str(caught.value) == "launch.num_processes: asked for 4 GPUs, this machine has 2"


def test_one_process_needs_no_launcher() -> None:
    stage = Stand(does="nothing")
    assert MultiGpu(num_processes=1, main_process_port=None).place(stage) is stage


def test_processes_that_were_started_already_are_not_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    stage = Stand(does="nothing")
    assert MultiGpu(num_processes=2, main_process_port=None).place(stage) == Joined(stage=stage)
    with pytest.raises(MachineError, match=r"asked for 4 processes, but 2 were already started"):
        MultiGpu(num_processes=4, main_process_port=None).place(stage)


# -- a worker ---------------------------------------------------------------------------------


def job(folder: Path, **changes: int) -> Job:
    path, settings = Job.describe(Stand(does="nothing"))
    return Job(
        stage=path,
        settings=settings,
        given=artifacts(folder),
        folder=folder,
        num_processes=changes.get("num_processes", 1),
        parent=os.getpid(),
    )


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a worker that runs in this process from changing how the tests log."""
    monkeypatch.setattr(worker, "_speak_through_parent", lambda _: None)


def test_a_job_survives_json(tmp_path: Path) -> None:
    one = job(tmp_path)
    again = Job.from_json(one.to_json())
    assert again == one
    assert again.build() == Stand(does="nothing")


@pytest.mark.usefixtures("unheard")
def test_a_worker_asserts_the_number_of_processes(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_bytes(job(tmp_path, num_processes=2).to_json())
    with pytest.raises(SystemExit) as caught:
        worker.main(tmp_path)
    assert caught.value.code == MachineError.exit_code == 3
    assert Failure.read_all(tmp_path) == [
        Failure(
            rank=0,
            error="MachineError",
            expected="MachineError",
            message="launch: asked for 2 processes, 1 started",
            exit_code=3,
        )
    ]
    assert not (tmp_path / "result.json").exists()


@pytest.mark.usefixtures("unheard")
def test_a_worker_leaves_the_artifact_as_json(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_bytes(job(tmp_path).to_json())
    worker.main(tmp_path)
    told = (tmp_path / "result.json").read_bytes()
    assert TypeAdapter(TrainedModel).validate_json(told).best_metric == 0.1 + 0.2


# -- torchrun -m pipeline, accelerate launch -m pipeline --------------------------------------

_LEAD_OR_FOLLOW = """
import logging, os, time
from pathlib import Path
from pipeline.errors import StoppedError
from pipeline.launch import Local, assert_asked_processes, follow, is_follower
from test_launch import Stand, artifacts

def lead():
    {body}

if is_follower():
    follow()
else:
    assert_asked_processes()
    lead()
Path(f"ended-{{os.environ.get('RANK', '0')}}").write_text("yes")
"""


@pytest.mark.slow
def test_followers_wait_for_the_leader_and_join_every_training(
    start: Start, tmp_path: Path
) -> None:
    body = """
    time.sleep(3)
    for name in ("one", "two"):
        folder = Path(name)
        folder.mkdir()
        made = Local().place(Stand(does="nothing")).run(artifacts(folder), folder)
        assert made.steps == 2
    """
    code = _LEAD_OR_FOLLOW.format(body=body.strip())
    launcher = start(["-m", "torch.distributed.run", "--nproc_per_node", "2"], code)
    _, told = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, told
    made = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("pid-*")}
    assert made == {"one/pid-0", "one/pid-1", "two/pid-0", "two/pid-1"}
    assert (tmp_path / "ended-0").exists()
    assert (tmp_path / "ended-1").exists()


@pytest.mark.slow
def test_two_real_trainings_follow_one_another_under_torchrun(start: Start, tmp_path: Path) -> None:
    body = """
    from test_finetune import make_adapted, make_base, make_examples, trainer
    adapted = make_adapted(Path("a"), make_base(Path("b").absolute()))
    examples = make_examples(Path("e"))
    for name in ("one", "two"):
        folder = Path(name)
        folder.mkdir()
        Local().place(trainer()).run((adapted, examples), folder)
    """
    code = _LEAD_OR_FOLLOW.format(body=body.strip())
    launcher = start(["-m", "torch.distributed.run", "--nproc_per_node", "2"], code)
    _, told = launcher.communicate(timeout=180)
    assert launcher.returncode == 0, told
    one, two = (tmp_path / name / "adapter/adapter_model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_a_signal_to_torchrun_stops_all_at_one_step_and_saves_it(
    start: Start, tmp_path: Path
) -> None:
    body = """
    from test_finetune import make_adapted, make_base, make_examples, trainer
    folder = Path("out")
    folder.mkdir(exist_ok=True)
    given = make_adapted(Path("a"), make_base(Path("b").absolute())), make_examples(Path("e"))
    try:
        Local().place(trainer(num_train_epochs=300)).run(given, folder)
    except StoppedError as error:
        Path("stopped").write_text(str(error))
        raise SystemExit(error.exit_code)
    """
    code = _LEAD_OR_FOLLOW.format(body=body.strip())
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launcher = start(command, code)
    end = time.monotonic() + 60
    while not (tmp_path / "out" / "metrics.jsonl").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    stopped = (tmp_path / "stopped").read_text()
    match = re.fullmatch(
        r"finetune: stopped by SIGTERM after step (\d+) of 900; it is saved, and the same command "
        "goes on from there",
        stopped,
    )
    assert match is not None, stopped
    saved = list((tmp_path / "out" / "checkpoints").glob(f"checkpoint-{match[1]}*"))
    assert [flaw(each) for each in saved] == [None] * len(saved) != []


@pytest.mark.slow
@pytest.mark.parametrize(("body", "code"), [("pass", 0), ("raise SystemExit(2)", 1)])
def test_followers_end_with_a_leader_that_never_trains(start: Start, body: str, code: int) -> None:
    script = _LEAD_OR_FOLLOW.format(body=body)
    launcher = start(["-m", "torch.distributed.run", "--nproc_per_node", "2"], script)
    launcher.communicate(timeout=60)
    assert launcher.returncode == code


@pytest.mark.slow
def test_accelerate_that_starts_one_process_of_two_is_refused(start: Start, tmp_path: Path) -> None:
    script = _LEAD_OR_FOLLOW.format(body="pass")
    command = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launcher = start(command, script)
    _, told = launcher.communicate(timeout=60)
    assert launcher.returncode != 0
    assert (
        "MachineError: asked for 2 processes, 1 started; use torchrun --nproc_per_node 2 "
        "-m pipeline ... or launch=multi_gpu launch.num_processes=2"
    ) in told
    assert not (tmp_path / "ended-0").exists()


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("python /bin/accelerate launch --cpu --num_processes 2 -m pipeline", 2),
        ("python /bin/accelerate-launch --num-processes=4 -m pipeline", 4),
        ("python -m accelerate.commands.launch --num_processes=3 -m pipeline", 3),
        ("python /bin/accelerate launch -m pipeline", None),
        ("bash -c pipeline --num_processes 2", None),
    ],
)
def test_the_number_asked_for_is_read_from_the_launcher(command: str, asked: int | None) -> None:
    assert _asked(command.split()) == asked


def test_a_process_alone_leads_and_has_what_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not is_follower()
    assert_asked_processes()
    stage = Stand(does="nothing")
    assert Local().place(stage) is stage


def test_only_later_ranks_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert not is_follower()
    monkeypatch.setenv("RANK", "1")
    assert is_follower()


def test_processes_of_an_unknown_launcher_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    with pytest.raises(MachineError, match=r"not by torchrun or accelerate launch"):
        assert_asked_processes()


# -- the settings -----------------------------------------------------------------------------


def test_importing_launch_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'accelerate', 'datasets'}"
    code = f"import sys, pipeline.launch, pipeline.worker; print({heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


@pytest.mark.parametrize(("option", "cls"), [("local", Local), ("multi_gpu", MultiGpu)])
def test_the_shipped_settings_build(option: str, cls: type) -> None:
    file = shipped_folder("configs") / "launch" / f"{option}.yaml"
    told = {str(key): value for key, value in OmegaConf.load(file).items()}
    assert isinstance(build_stage("launch", told), cls)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_processes": 0}, "launch.num_processes must be at least 1, got 0"),
        ({"main_process_port": 0}, "launch.main_process_port must be from 1 to 65535, got 0"),
    ],
)
def test_an_impossible_setting_is_refused(changes: dict[str, int], message: str) -> None:
    told = {"_target_": "pipeline.launch.MultiGpu", "num_processes": 2, "main_process_port": None}
    with pytest.raises(ConfigError) as caught:
        build_stage("launch", told | changes)
    assert str(caught.value) == message
