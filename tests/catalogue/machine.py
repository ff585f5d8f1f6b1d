"""Section F: what the machine lacks, and where and as whom one runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from catalogue.case import Case
from catalogue.training import NO_GPU, RECIPE, TINY, rows

MASK = 0o027
LOOK = (*TINY, "finetune=none")


def installed(**packages: str) -> Callable[[Path], None]:
    """Return a function that puts the metadata of packages before the real ones.

    Args:
        packages: Version by name; of `graft_pipeline` what it needs, instead.
    """

    def inside(here: Path) -> None:
        for name, told in packages.items():
            ours = name == "graft_pipeline"
            folder = here / "fake" / f"{name}-{'1.0' if ours else told}.dist-info"
            folder.mkdir(parents=True)
            (folder / "METADATA").write_text(
                f"Metadata-Version: 2.4\nName: {name.replace('_', '-')}\n"
                + (f"Version: 1.0\n{told}\n" if ours else f"Version: {told}\n")
            )
        sys.path.insert(0, str(here / "fake"))

    return inside


def old(given: str, says: str, lines: int = 1, **packages: str) -> Case:
    return Case(
        number=192,
        given=given,
        arguments=(RECIPE, "finetune=none"),
        inside=installed(**packages),
        says=says,
        code=3,
        lines=lines,
    )


def as_someone_careful(_: Path) -> None:
    os.umask(MASK)


def follows_the_umask(here: Path) -> None:
    """Check that the group may read what was published, and others may not."""
    made = [file for file in (here / "outputs/.store").glob("*/[0-9a-f]*/**/*") if file.is_file()]
    assert len(made) > 20
    assert {file.stat().st_mode & 0o777 for file in made} == {0o666 & ~MASK}


def in_a_folder(here: Path) -> None:
    (here / "elsewhere").mkdir()
    rows()(here / "elsewhere")


def go_there(here: Path) -> None:
    os.chdir(here / "elsewhere")


def go_elsewhere(here: Path) -> None:
    (here / "empty").mkdir()
    os.chdir(here / "empty")


PACKAGES = (
    old("a package that is too old",
        r"^error: transformers: needs transformers \S+, found 4\.30\.0; run: pip install 'transfo",
        transformers="4.30.0"),
    old("a package that is too new",
        r"^error: onnxscript: needs onnxscript \S+, found 9\.0; run: pip install 'onnxscript",
        onnxscript="9.0"),
    old("three packages that are too old", r"^error: peft: needs peft \S+, found 0\.5", 3,
        transformers="4.30.0", peft="0.5", torch="1.13.1"),
    old("a package that is missing",
        r"^error: no-such-package: needs no-such-package >=2, which is not installed; run: pip in",
        graft_pipeline="Requires-Python: >=3\nRequires-Dist: no-such-package>=2"),
    old("a Python that is too old", r"^error: python: needs Python >=4\.0, this is 3\.",
        graft_pipeline="Requires-Python: >=4.0"),
)  # fmt: skip

PLACES = (
    Case(number=193, given="a cache that nobody can write", code=3, fresh=True,
         arguments=(RECIPE, "model=bert_base", "finetune=none"),
         environment={"HF_HOME": "/proc/cache", "HF_HUB_OFFLINE": None, **NO_GPU},
         says=r"^error: the cache /proc/cache/hub cannot be written .*; set HF_HOME to a folder"),
    Case(number=196, given="from another folder, with a path that is relative to it", code=0,
         arguments=("plan", *LOOK), prepare=in_a_folder, inside=go_there, says="", lines=0),
    Case(number=196, given="from another folder, with a path that was right in the first",
         arguments=LOOK, prepare=in_a_folder, inside=go_elsewhere,
         says=r"^error: data\.train: no such file: {here}/empty/rows\.jsonl"),
    Case(number=197, given="files for the group", code=0, lines=0, says="",
         arguments=LOOK, prepare=rows(), inside=as_someone_careful, then=follows_the_umask),
)  # fmt: skip
