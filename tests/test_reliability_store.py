"""The harnesses of the store keep their promises at a small size."""

from pathlib import Path

import pytest
from reliability import concurrent, corruption, stage_kills


@pytest.mark.slow
def test_pipelines_that_are_killed_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    (figure,) = stage_kills.measure(12, tmp_path)
    assert figure.tried == 12
    assert figure.bad == 0, figure.notes


@pytest.mark.slow
def test_every_damage_is_seen_and_mended(tmp_path: Path) -> None:
    (figure,) = corruption.measure(30, tmp_path)
    assert figure.bad == 0, figure.notes


@pytest.mark.slow
def test_processes_at_once_do_not_disturb_one_another(tmp_path: Path) -> None:
    for figure in concurrent.measure(4, tmp_path):
        assert figure.bad == 0, figure.notes
