"""A disk without room ends a run with numbers, and what was saved before is whole."""

from __future__ import annotations

import errno
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from forked import fork
from reliability.disk_full import measure
from safetensors.torch import save_file

from pipeline.disk import as_disk_full, assert_room, in_bytes
from pipeline.errors import DiskFullError

LIMIT = 100_000
ZEROS = torch.zeros(LIMIT)


def python(folder: Path) -> None:
    (folder / "file").write_bytes(ZEROS.numpy().tobytes())


def safetensors(folder: Path) -> None:
    save_file({"zeros": ZEROS}, folder / "file.safetensors")


def torch_zip(folder: Path) -> None:
    torch.save(ZEROS, folder / "file.pt")


def onnx_data(folder: Path) -> None:
    tensor = onnx.numpy_helper.from_array(ZEROS.numpy(), "zeros")
    graph = onnx.helper.make_graph([], "graph", [], [], [tensor])
    onnx.save(onnx.helper.make_model(graph), folder / "file.onnx")


def arrow(folder: Path) -> None:
    table = pa.table({"column": np.random.default_rng(0).random(LIMIT)})
    pyarrow.parquet.write_table(table, folder / "file.parquet")


def datasets_table(folder: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"column": np.random.default_rng(0).random(LIMIT)}).save_to_disk(folder)


@pytest.mark.parametrize(
    "write", [python, safetensors, torch_zip, onnx_data, arrow, datasets_table]
)
def test_every_library_that_hits_a_limit_for_real_is_understood(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    def attempt() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        try:
            write(tmp_path)
        except Exception as error:
            told = as_disk_full(error, tmp_path, stage="finetune")
            if told is None:
                raise
            sys.exit(str(told))

    ended = fork(attempt)
    assert ended.stderr.splitlines()[-1].startswith("finetune: "), ended.stderr
    assert f"while writing to {tmp_path}: " in ended.stderr
    assert ended.code == 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 29760 vs 29652"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        ValueError("Unable to write: [errno 122] Disk quota exceeded"),
    ],
    ids=str,
)
def test_what_means_no_room_is_told_with_numbers(error: Exception, tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(bytes(61_000))
    told = as_disk_full(error, tmp_path, stage="finetune", good="checkpoint-15")
    assert isinstance(told, DiskFullError)
    assert told.exit_code == 3
    said = str(told)
    assert "\n" not in said
    assert f" while writing to {tmp_path}: 61.0 kB written, " in said
    assert said.endswith(
        "; last good: checkpoint-15; free some space, and the same command goes on"
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "28"),
        RuntimeError("size mismatch: 28 and 27"),
        OSError("No file named model.safetensors found"),
        KeyError("disk"),
        MemoryError(),
    ],
    ids=repr,
)
def test_what_means_something_else_is_left_alone(error: Exception, tmp_path: Path) -> None:
    assert as_disk_full(error, tmp_path) is None


def test_a_cause_deep_below_is_found_and_a_circle_ends(tmp_path: Path) -> None:
    deep = OSError(errno.ENOSPC, "No space left on device")
    middle, top = ValueError("could not save"), RuntimeError("failed")
    middle.__context__, top.__cause__, deep.__context__ = deep, middle, top
    told = as_disk_full(top, tmp_path)
    assert told is not None
    assert str(told).startswith(f"disk full while writing to {tmp_path}: 0 bytes written, ")
    already = DiskFullError("said before")
    middle.__context__ = already
    assert as_disk_full(top, tmp_path) is already


def test_a_folder_that_is_gone_is_still_told(tmp_path: Path) -> None:
    told = as_disk_full(OSError(errno.ENOSPC, ""), tmp_path / "gone" / "deep")
    assert told is not None
    assert "0 bytes written" in str(told)


def test_what_will_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert_room(tmp_path / "new", free // 2, "finetune")
    with pytest.raises(
        DiskFullError, match=rf"^export: needs about 900 TB in {tmp_path}/new, [\d.]+ [MGT]B free"
    ):
        assert_room(tmp_path / "new", 900 * 10**12, "export")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (61_000_000, "61.0 MB"),
        (999_499, "999 kB"), (999_501, "1.00 MB"), (1.2e9, "1.20 GB"), (3.14e12, "3.14 TB"),
    ],
)  # fmt: skip
def test_bytes_are_told_with_three_digits(number: float, told: str) -> None:
    assert in_bytes(number) == told


def test_it_needs_nothing_but_python() -> None:
    code = "import sys, pipeline.disk; print({'torch', 'numpy', 'onnx'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


# -- a training on a full disk ----------------------------------------------------------------


@pytest.mark.slow
def test_a_training_without_room_ends_cleanly_and_goes_on_when_there_is_some(
    tmp_path: Path,
) -> None:
    for figure in measure(3, tmp_path):
        assert figure.notes == ()
        assert (figure.tried, figure.bad) == (3, 0)
