"""Section E: where a run writes, how it goes on, what it exports, and what shows it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from catalogue.case import Case, Proved
from catalogue.training import NO_GPU, RECIPE, TINY, rows, without

LOOK = (*TINY, "finetune=none")
_LISTENING: list[socket.socket] = []
"""Kept open until the process of the case, a fork of this one, has tried its port."""


def early(number: int, given: str, *arguments: str, says: str, code: int = 2) -> Case:
    return Case(
        number=number, given=given, arguments=arguments, says=says, code=code, early=True,
        prepare=places,
    )  # fmt: skip


def places(here: Path) -> None:
    """Make what is in the way: files, a folder that is taken, links to nowhere, odd runs."""
    rows()(here)
    (here / "file").write_text("mine")
    for folder in ("export/5_export", "empty", "half", "odd", "other/1_model", "view/6_visualize"):
        (here / folder).mkdir(parents=True)
    for each in ("export/5_export", "other/1_model"):
        (here / each / "mine").write_text("mine")
    (here / "odd" / "2_data").write_text("mine")
    (here / "half" / "manifest.json").write_text("{}")
    (here / "dangling").symlink_to("nowhere/at/all")
    (here / "loop").symlink_to("loop")
    for name, content in (("text", b"no graph"), ("nothing", b""), ("page", b"<!doctype html>")):
        models = here / name / "6_visualize" / "models"
        models.mkdir(parents=True)
        (models / "adapted.onnx").write_bytes(content)
        (models.parent / "index.html").write_text("page")
        (here / name / "manifest.json").write_text("{}")


def deep(here: Path) -> None:
    """Check that the run is whole where it was asked for, in folders that were not there."""
    run = here / "no/such/folder"
    assert json.loads((run / "manifest.json").read_text())["status"] == "done"
    assert (run / "6_visualize/index.html").is_file()


def port_taken(here: Path) -> None:
    """Take the port that `taken` types, for as long as this process lives."""
    rows()(here)
    assert _LISTENING


def taken() -> int:
    """Return a port of this machine that something listens on."""
    if not _LISTENING:
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen()
        _LISTENING.append(server)
    port: int = _LISTENING[0].getsockname()[1]
    return port


PLACES = (
    *(
        early(163, f"the run folder is a file: {path}", *LOOK, f"hydra.run.dir={path}",
              says=r"^error: hydra\.run\.dir: \S+ is a file, not a folder")
        for path in ("file", "{here}/file", "file/below", "rows.jsonl", "dangling", "loop",
                     "/dev/null", "/dev/null/below")
    ),
    early(163, "the folder of a sweep is a file", "-m", *LOOK, "hydra.sweep.dir=file",
          says=r"^error: hydra\.sweep\.dir: file is a file, not a folder"),
    *(
        early(164, f"a place that nobody can write: {path}", *LOOK, f"hydra.run.dir={path}",
              says=rf"^error: hydra\.run\.dir: cannot write to {path}: ", code=3)
        for path in ("/proc/run", "/proc/self/run", "/sys/run", "/sys/kernel/run")
    ),
    early(164, "a sweep where nobody can write", "-m", *LOOK, "hydra.sweep.dir=/proc/runs",
          says=r"^error: hydra\.sweep\.dir: cannot write to /proc/runs: ", code=3),
    *(
        Case(number=164, given=f"a store where nobody can write: {path}", arguments=LOOK, code=3,
             says=r"^error: store: cannot write to \S+: .*GRAFT_STORE", prepare=places,
             environment={"GRAFT_STORE": path})
        for path in ("/proc/store", "{here}/file")
    ),
    early(165, "a name of 300 letters", *LOOK, f"hydra.run.dir={'n' * 300}",
          says=r"^error: hydra\.run\.dir: File name too long: n+"),
    early(165, "a name of 256 letters, deep", *LOOK, f"hydra.run.dir={{here}}/{'n' * 256}",
          says=r"^error: hydra\.run\.dir: File name too long: "),
    early(165, "a name of 150 letters of two bytes", *LOOK, f"hydra.run.dir={'ö' * 150}",
          says=r"^error: cannot read the override hydra\.run\.dir=ö+; quote its value"),
    early(165, "a name of 150 letters of two bytes, quoted", *LOOK,
          f"hydra.run.dir='{'ö' * 150}'", says=r"^error: hydra\.run\.dir: File name too long: ö+"),
    *(
        early(166, f"{name} in the run folder", *LOOK, f'hydra.run.dir="a{letter}b"',
              says=r"^error: (hydra\.run\.dir: control character in|cannot read the override)")
        for name, letter in (("a newline", "\n"), ("a tab", "\t"), ("a bell", "\a"),
                             ("an escape", "\x1b"), ("NUL", "\0"), ("a return", "\r"),
                             ("delete", "\x7f"))
    ),
    *(
        early(167, f"no run folder: {typed}", *LOOK, typed, says=r"^error: hydra\.\w+\.dir: ")
        for typed in ("hydra.run.dir=null", "hydra.run.dir=", "hydra.run.dir=''",
                      "hydra.run.dir=.", "hydra.run.dir=${nope}", "hydra.run.dir=???")
    ),
    Case(number=171, given="a run folder in folders that are not there", code=0, lines=0, says="",
         arguments=(*LOOK, "hydra.run.dir=no/such/folder"), prepare=places, then=deep),
    *(
        early(172, f"something else has the name of a stage's folder: {folder}", *LOOK,
              f"hydra.run.dir={folder}",
              says=rf"^error: hydra\.run\.dir: {folder}/\d_\w+ is a (file|folder) of something els")
        for folder in ("export", "other", "odd")
    ),
    *(
        Case(number=172, given=f"a manifest of something else: {folder}", prepare=places,
             arguments=(*LOOK, f"hydra.run.dir={folder}"),
             says=rf"^error: hydra\.run\.dir: {folder} has a manifest\.json of something else")
        for folder in ("half",)
    ),
)  # fmt: skip

EXPORT = (
    *(
        early(174, f"opset {opset}", RECIPE, f"export.opset={opset}",
              says=rf"^error: export\.opset must be from 18 to 25, got {opset}")
        for opset in (99, 26, 17, 5, 0, -1)
    ),
    *(
        early(183, f"export format as a key: {key}", RECIPE, f"export.{key}=x",
              says=rf"^error: export\.{key}: unknown key{says}")
        for key, says in (("format", ": export=onnx writes every format"),
                          ("path", ": a run has its own folder, hydra.run.dir"),
                          ("output_dir", ": a run has its own folder, hydra.run.dir"),
                          ("opsets", r"; did you mean 'opset'\?"))
    ),
    early(183, "another format", RECIPE, "export=gguf",
          says=r"^error: export: no export 'gguf'\. Options: onnx"),
)  # fmt: skip

VIEWER = (
    Case(number=186, given="a port that is in use", code=3, prepare=port_taken, environment=NO_GPU,
         arguments=(*TINY, f"visualize.port={taken()}", "visualize.open=always"),
         says=r"^error: visualize\.port: \d+ is in use; choose another one, or 0 for any free one"),
    *(
        early(187, f"a port that is none, to open with: {' '.join(given)}", *given,
              says=r"^error: (open|compare): takes .* a port up to 65535")
        for given in (("open", "text", "70000"), ("open", "text", "-1"), ("open", "text", "http"),
                      ("open", "text", "0x50"), ("open", "text", "1.5"), ("open", "text", ""),
                      ("open", "text", "1", "2"), ("compare", "text", "page", "99999"),
                      ("open",), ("compare",), ("compare", "text"), ("open", "--port", "80"))
    ),
    *(
        early(188, f"showing it to others: {key}", RECIPE, f"visualize.{key}",
              says=r"^error: visualize\.\w+: unknown key: the pages are served to this machine al")
        for key in ("host=0.0.0.0", "share=true", "allow_remote=true")
    ),
    early(187, "when to open it, mistyped", RECIPE, "visualize.open=nevr",
          says=r"^error: visualize\.open: should be 'auto', 'always' or 'never', got 'nevr'; did"),
    early(187, "YAML's no for when to open it", RECIPE, "visualize.open=false",
          says=r"^error: visualize\.open: should be 'auto', 'always' or 'never', got False"),
    *(
        early(189, f"nothing to look at: {' '.join(given)}", *given,
              says=rf"^error: {given[0]}: {says}")
        for given, says in (
            (("open", "nowhere"), r"nowhere does not exist; .* below /\S+/outputs\. Runs here: "),
            (("open", "latest"), r"latest does not exist; .* Runs here: none below outputs"),
            (("open", "empty"), r"nothing to look at in empty: .* It is no run; give a folder th"),
            (("open", "file"), r"file is no file of a model known here; expected a state_dict or "),
            (("open", "half"), r"nothing to look at in half: .* did not get that far, as its mani"),
            (("open", "view"), r"nothing to look at in view: "),
            (("open", "dangling"), r"dangling does not exist"),
            (("open", "n" * 300), r"cannot look at n+: File name too long"),
            (("compare", "nowhere", "text"), r"nowhere does not exist"),
            (("compare", "half", "half"), r"nothing to look at in half: .* did not get that far"),
            (("compare", "empty", "file"), r"nothing to look at in empty: .* It is no run"),
        )
    ),
    *(
        early(190, f"what is shown is no graph: {' '.join(given)}", *given,
              says=rf"^error: {given[0]}: /\S+/{given[1]}/6_visualize/models/adapted\.onnx is not ")
        for given in (("open", "text"), ("open", "nothing"), ("open", "page"),
                      ("open", "text", "0"), ("compare", "text", "page"))
    ),
    early(189, "a command with too much", "clean", "outputs",
          says=r"^error: clean: takes nothing but --dry-run"),
    Case(number=191, given="Netron is not installed", code=3, arguments=TINY, prepare=rows(),
         inside=without("netron"), environment=NO_GPU,
         says=r"^error: visualize: needs the package netron; pip install netron=="),
)  # fmt: skip

ELSEWHERE = (
    Proved(number=169, by="tests/test_resume.py::test_without_a_checkpoint_it_starts_again"),
    Proved(
        number=175,
        by="tests/test_export.py::test_difference_beyond_tolerance_fails_with_the_numbers",
    ),
    Proved(
        number=176, by="tests/test_resume.py::test_what_a_killed_process_left_half_done_is_removed"
    ),
    Proved(
        number=177,
        by="tests/test_resume.py::test_a_damaged_checkpoint_is_named_and_the_one_before_is_used",
    ),
    Proved(
        number=178,
        by="tests/test_resume.py::test_a_damaged_checkpoint_is_named_and_the_one_before_is_used",
    ),
    Proved(number=180, by="tests/test_resume.py::test_a_checkpoint_of_other_data_is_refused"),
    Proved(
        number=181,
        by="tests/test_resume.py::"
        "test_a_full_disk_leaves_the_last_checkpoint_and_a_sentence_with_numbers",
    ),
    Proved(number=182, by="tests/test_disk.py::test_what_will_not_fit_is_refused_before_it_begins"),
    Proved(number=185, by="tests/test_export.py::test_weight_that_is_not_finite_is_never_exported"),
)
