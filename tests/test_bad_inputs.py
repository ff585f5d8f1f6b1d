"""Every bad input of the catalogue gets its answer; the inputs are in tests/catalogue."""

from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import catalogue
import forked
import pytest
from catalogue.case import Case, Proved
from catalogue.catalogue import CATALOGUE, SECTIONS, Entry
from catalogue.generated import CASES as GENERATED
from catalogue.generated import NUMBERS, shipped_keys

from pipeline import seal
from pipeline.check import check
from pipeline.errors import ConfigError

HERE = Path(__file__).parent
LONGEST = 1000
"""Letters of a line that a person still reads."""
DEPARTURES = {
    134: "evaluation is not a choice here: the key does not exist, and the answer says what is",
    142: "there is no key for it here: a key that does not exist is a mistake in the input",
    152: "there is no key for it here: a key that does not exist is a mistake in the input",
}
"""Entries that end in another code than the collection says, and why."""


def collected() -> Iterator[Case | Proved]:
    seen = set()
    for found in pkgutil.iter_modules(catalogue.__path__):
        module = importlib.import_module(f"catalogue.{found.name}")
        for value in vars(module).values():
            for each in value if isinstance(value, list | tuple) else ():
                if isinstance(each, Case | Proved) and id(each) not in seen:
                    seen.add(id(each))
                    yield each


EVERY = tuple(collected())
CASES = tuple(each for each in EVERY if isinstance(each, Case))
KIN = frozenset(map(id, GENERATED))
SHARE = 1 if os.environ.get("GRAFT_CASES") == "all" else 4
"""Of the cases that are generated for every key, each fourth is tried here; `scripts/reliability`
tries all of them."""
TRIED = (
    *(case for case in CASES if id(case) not in KIN),
    *[case for case in CASES if id(case) in KIN][::SHARE],
)
PROVED = tuple(each for each in EVERY if isinstance(each, Proved))


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Import once what the command line would, so that a case takes a tenth of a second."""
    forked.preload()
    importlib.import_module("pipeline.record")
    with pytest.raises(ConfigError):
        check(["+recipe=lora_bert", "adapter.r=0"])  # parsers fill their tables at the first use
    gc.collect()
    gc.freeze()  # a fork that looks for garbage would copy all that it shares with this process


@pytest.mark.parametrize("case", TRIED, ids=[f"{case.number} {case.given}"[:90] for case in TRIED])
def test_bad_input_gets_its_answer(case: Case, tmp_path: Path) -> None:
    names = {"here": str(tmp_path)}
    if case.prepare is not None:
        case.prepare(tmp_path)
    before = {file: state(file) for file in tmp_path.rglob("*")}
    arguments = [filled(each, names) for each in case.arguments]
    ended = run(case, arguments, tmp_path)
    said = ended.stderr.splitlines()
    errors = [line for line in said if line.startswith("error:")]

    assert ended.code == case.code, ended.stderr
    assert len(errors) == case.lines, ended.stderr
    assert "Traceback" not in ended.stderr
    if case.says:
        assert any(re.search(filled(case.says, names), line) for line in said), ended.stderr
    assert all(len(line) < LONGEST for line in errors)
    if case.early:
        assert errors == said
        assert {file: state(file) for file in tmp_path.rglob("*")} == before
    assert_nothing_is_half_written(tmp_path, failed=case.code != 0)
    if case.then is not None:
        case.then(tmp_path)


def run(case: Case, arguments: list[str], folder: Path) -> forked.Ended:
    environment = {
        key: value and filled(value, {"here": str(folder)})
        for key, value in case.environment.items()
    }
    if case.fresh:
        started = forked.start(
            lambda: sys.exit(subprocess.call([sys.executable, "-m", "pipeline", *arguments])),
            cwd=folder,
            environment=environment,
        )
        return forked.wait(started)

    def inside() -> None:
        if case.inside is not None:
            case.inside(folder)
        forked.command_line(*arguments)()

    return forked.fork(inside, cwd=folder, environment=environment)


def filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def state(file: Path) -> tuple[int, int]:
    told = file.lstat()
    return told.st_mtime_ns, told.st_size


def assert_nothing_is_half_written(folder: Path, *, failed: bool) -> None:
    """Check that what has the name of something finished is that."""
    for entry in folder.glob("**/.store/*/*"):
        if not entry.name.startswith(".") and not entry.parent.name.startswith("."):
            assert seal.flaw(entry) is None
    for manifest in folder.glob("**/manifest.json"):
        told = json.loads(manifest.read_text())
        if "stages" in told and failed:
            assert told["status"] == "failed"
            assert told["error"]["message"]


def test_the_catalogue_is_whole() -> None:
    assert len(CATALOGUE) == 157
    assert len({entry.number for entry in CATALOGUE}) == len(CATALOGUE)
    assert {entry.section for entry in CATALOGUE} == set(SECTIONS)
    assert len(TRIED) > 700
    assert len(CASES) >= len(TRIED)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: f"{entry.number} {entry.text}")
def test_entry_has_a_case_that_ends_as_it_says(entry: Entry) -> None:
    number, code = entry.number, entry.exit
    codes = {case.code for case in CASES if case.number == number}
    proved = any(each.number == number for each in PROVED)
    assert codes or proved, "no case, and no other test"
    assert proved or code in codes or number in DEPARTURES, f"{codes}, not {code}"


def test_every_case_is_of_an_entry() -> None:
    known = {entry.number for entry in CATALOGUE}
    assert {each.number for each in EVERY} <= known


@pytest.mark.parametrize("proved", PROVED, ids=lambda proved: f"{proved.number} {proved.by}")
def test_the_test_that_proves_an_entry_exists(proved: Proved) -> None:
    file, _, name = proved.by.partition("::")
    tree = ast.parse((HERE.parent / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_key_that_is_a_number_has_a_range() -> None:
    assert {key.path for key in shipped_keys() if key.is_number} == set(NUMBERS)


def test_no_input_is_tried_twice() -> None:
    typed = [(case.arguments, case.given) for case in CASES]
    assert len(set(typed)) == len(typed)
