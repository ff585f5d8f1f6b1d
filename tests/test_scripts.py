"""The scripts, in a copy of the checkout whose Python only says what it is asked to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.shipped import shipped_folder

ROOT = shipped_folder("configs").parent
FAKE = """#!/bin/sh
case "$*" in
  "-m pip "*) pwd >>"$(dirname "$0")/installed-in" ;;
  -m*) echo "in $PWD: $*, browser $GRAFT_BROWSER" ;;
esac
"""


def program(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(0o755)
    return file


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a `.venv`, in a folder whose name has a space."""
    checkout = tmp_path / "check out"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    program(checkout / ".venv/bin/python", FAKE)
    program(checkout / ".venv/bin/chromium", "#!/bin/sh\n")  # none is installed by a test
    return checkout


def call(script: Path, *words: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "GRAFT_BROWSER"}
    return subprocess.run(
        [str(script), *words], cwd=cwd, env=environment | extra,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_run_stays_in_the_folder_one_is_in_and_installs_in_its_own(
    checkout: Path, tmp_path: Path
) -> None:
    script = checkout / "scripts/run"
    done = call(script, "+recipe=x", "data.train=rows.csv", cwd=tmp_path)
    assert done.stdout == (
        f"in {tmp_path}: -m pipeline +recipe=x data.train=rows.csv, browser \n"
    ), done.stderr
    installed = checkout / ".venv/bin/installed-in"
    assert set(installed.read_text().splitlines()) == {str(checkout)}

    before = installed.read_text()
    assert call(script, cwd=tmp_path).returncode == 0
    assert installed.read_text() == before, "quick the second time"
    assert [each.name for each in tmp_path.iterdir()] == [checkout.name]


def test_python_is_judged_only_when_the_environment_is_made(checkout: Path, tmp_path: Path) -> None:
    old = program(tmp_path / "old-python", "#!/bin/sh\nexit 1\n")
    assert call(checkout / "scripts/run", cwd=tmp_path, PYTHON=str(old)).returncode == 0
    shutil.rmtree(checkout / ".venv")
    assert call(checkout / "scripts/run", cwd=tmp_path, PYTHON=str(old)).returncode == 3


@pytest.mark.parametrize(
    ("extra", "browser"),
    [({}, "required"), ({"GRAFT_BROWSER": "optional"}, "optional")],
)
def test_tests_run_in_the_checkout_and_demand_a_browser_unless_told_otherwise(
    extra: dict[str, str], browser: str, checkout: Path, tmp_path: Path
) -> None:
    done = call(checkout / "scripts/test", "-k", "x", cwd=tmp_path, **extra)
    assert done.stdout == f"in {checkout}: -m pytest -k x, browser {browser}\n", done.stderr
