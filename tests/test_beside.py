"""Work in a copy of the process gives what it would give here, or its error here."""

import os
import sys
import time

import pytest

from pipeline.export.beside import Beside


def test_what_is_made_in_a_copy_comes_back() -> None:
    with Beside(lambda: [n * n for n in range(4)]) as beside:
        assert beside.result() == [0, 1, 4, 9]


def test_it_is_made_in_another_process_where_one_can_be_copied() -> None:
    several = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1
    with Beside(os.getpid) as beside:
        assert (beside.result() != os.getpid()) == several


def test_an_error_is_raised_here_with_nothing_said_before(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise ValueError("not today")

    with Beside(fail) as beside, pytest.raises(ValueError, match="not today"):
        beside.result()
    assert capfd.readouterr().err == ""


def test_a_copy_that_dies_is_made_up_for() -> None:
    here = os.getpid()

    def die_elsewhere() -> str:
        if os.getpid() != here:
            os._exit(1)
        return "done"

    with Beside(die_elsewhere) as beside:
        assert beside.result() == "done"


def test_nobody_waits_for_what_nobody_asks_for() -> None:
    started = time.monotonic()
    with Beside(lambda: time.sleep(60)):
        pass
    assert time.monotonic() - started < 30
