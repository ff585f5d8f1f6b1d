"""What the README says is there is there, and its commands are those that work."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import Compose

from pipeline.build import build_plan
from pipeline.shipped import shipped_folder

ROOT = shipped_folder("configs").parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```\w*\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith(("python -m pipeline ", "scripts/", "accelerate launch ", "torchrun "))
]
THEIRS = ("--config-dir", "allow_code=")
"""In commands that need a file of the user's."""
RUNS = [
    each for each in COMMANDS if "+recipe=" in each and not any(theirs in each for theirs in THEIRS)
]


def test_the_lists_below_are_not_empty() -> None:
    assert "scripts/run +recipe=lora_bert" in COMMANDS
    assert "scripts/test" in COMMANDS
    assert len(RUNS) >= 8


def tracked(*patterns: str) -> set[str]:
    told = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return set(told.stdout.split())


def test_every_module_is_named_exactly_once_in_the_file_structure() -> None:
    modules = tracked("pipeline/*.py", "pipeline/**/*.py")
    if not modules:
        pytest.skip("not a git checkout")
    structure = README.partition("## File structure")[2]
    named = re.findall(r"^(pipeline/\S+\.py) ", structure, flags=re.MULTILINE)
    expected = {module for module in modules if not module.endswith("__init__.py")}
    assert sorted(named) == sorted(expected)


PAGES = sorted({"README.md", "CONTRIBUTING.md", *tracked("docs/*.md", "docs/adr/*.md")})


def test_the_list_of_pages_is_not_empty() -> None:
    assert {"README.md", "CONTRIBUTING.md"} <= set(PAGES)
    assert len(PAGES) > 10 or not tracked("docs/*.md"), "only outside of git are pages missing"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith("http"):
            assert (ROOT / page).parent.joinpath(link).exists(), link


def test_the_pages_show_pictures() -> None:
    assert "docs/pictures/report.png" in README
    assert "pictures/compare.png" in (ROOT / "docs/seeing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", RUNS)
def test_run_command_of_the_readme_builds(command: str, composed: Compose) -> None:
    words = [word for word in shlex.split(command) if "=" in word and not word.startswith("--")]
    swept = [re.sub(r"=(\w+),.*", r"=\1", word) for word in words if "[" not in word]
    build_plan(composed(*swept, *(word for word in words if "[" in word)))


@pytest.mark.parametrize("script", ["scripts/run", "scripts/test", "scripts/check", ".ci/run"])
def test_script_can_be_run_and_is_valid_shell(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_every_decision_is_in_the_list_of_decisions() -> None:
    listed = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    decisions = {file.name for file in Path(ROOT / "docs/adr").glob("0*.md")}
    assert len(decisions) >= 5
    assert set(re.findall(r"\((\d{4}-[^)]+\.md)\)", listed)) == decisions
