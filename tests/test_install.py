"""A wheel, alone in a folder, does the whole job; and a run asks nothing of another machine."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import write_rows

from pipeline.shipped import shipped_folder

ROOT = shipped_folder("configs").parent
# Python imports this first: every attempt to reach another machine is written down and refused.
GUARD = """
import os, socket
def guarded(real):
    def call(*args, **kwargs):
        where = str(args[1] if real is not looked_up else args[0])
        here = any(word in where for word in ("127.0.0.1", "localhost", "::1", "/"))
        if not here:
            with open(os.environ["GUARD_LOG"], "a") as log:
                log.write(where + chr(10))
            raise OSError("no request leaves this machine: " + where)
        return real(*args, **kwargs)
    return call
looked_up = socket.getaddrinfo
socket.getaddrinfo = guarded(looked_up)
socket.socket.connect = guarded(socket.socket.connect)
"""
TINY = (
    "+recipe=lora_bert", "model=random_bert", "data=jsonl", "finetune.num_train_epochs=1",
    "visualize.open=never", "visualize.pictures=never",
)  # fmt: skip


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    rows = write_rows(folder / "rows.jsonl", 60)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *TINY, f"data.train={rows}", *arguments],
        cwd=folder, env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_no_request_leaves_the_machine_in_a_whole_run(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    log = tmp_path / "requests.log"
    done = run(tmp_path, PYTHONPATH=str(tmp_path / "guard"), GUARD_LOG=str(log))
    assert done.returncode == 0, done.stderr
    assert not log.exists(), log.read_text()


@pytest.mark.slow
def test_the_guard_sees_a_request(tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    log = tmp_path / "requests.log"
    done = run(tmp_path, "model=bert_base", PYTHONPATH=str(tmp_path / "guard"), GUARD_LOG=str(log))
    assert done.returncode == 2
    assert "huggingface.co" in log.read_text()


@pytest.mark.slow
def test_wheel_alone_in_a_folder_does_the_whole_job(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("graft_pipeline-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(elsewhere, "data=support", PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 2  # data=support has no key `train`, and says so
    assert "data.train: unknown key" in done.stderr
    done = run(elsewhere, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    manifest = json.loads((elsewhere / "outputs/lora_bert/latest/manifest.json").read_text())
    assert manifest["status"] == "done"
    assert manifest["git_commit"] is None, "the wheel's code is that of no checkout"
