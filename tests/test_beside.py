"""Work in a copy of the process gives what it would give here, or its error here."""

import os

import pytest

from pipeline.export.beside import Beside


def test_what_is_made_in_a_copy_comes_back() -> None:
    assert Beside(lambda: {"squares": [n * n for n in range(4)]}).result() == {
        "squares": [0, 1, 4, 9]
    }


def test_it_is_made_in_another_process_where_one_can_be_copied() -> None:
    assert (Beside(os.getpid).result() != os.getpid()) == (
        os.uname().sysname == "Linux" and (os.cpu_count() or 1) > 1
    )


def test_an_error_is_raised_here_with_nothing_said_before(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise ValueError("not today")

    beside = Beside(fail)
    with pytest.raises(ValueError, match="not today"):
        beside.result()
    assert capfd.readouterr().err == ""


def test_a_copy_that_dies_is_made_up_for() -> None:
    here = os.getpid()

    def die_elsewhere() -> str:
        if os.getpid() != here:
            os._exit(1)
        return "done"

    assert Beside(die_elsewhere).result() == "done"
