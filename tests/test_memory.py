"""Out of memory: the same training again with half the rows at once, until it fits."""

from __future__ import annotations

import errno
import json
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import fork
from starved import Starved
from test_finetune import (
    Given,
    in_two_processes,
    largest_difference,
    make_adapted,
    make_base,
    make_examples,
    metrics,
    train,
    trainer,
)
from transformers import AutoConfig, BertForSequenceClassification

from pipeline.artifacts import TrainedModel
from pipeline.errors import OutOfMemoryError
from pipeline.finetune.engine import Engine
from pipeline.launch import MultiGpu
from pipeline.launch.multi_gpu import Several
from pipeline.memory import RowsAtOnce, is_out_of_memory, remembered, until_it_fits

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    folder = tmp_path_factory.mktemp("given")
    adapted = make_adapted(folder / "adapter", make_base(folder / "base"), lora_dropout=0.1)
    return adapted, make_examples(folder / "examples", train=44)


# -- for real ---------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a limit limits nothing")
def test_a_limit_of_the_system_halves_the_rows_and_the_result_is_the_same(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    config = AutoConfig.from_pretrained(tmp_path / "base")
    config.intermediate_size = 2**16  # 184 MB at 64 rows of 11 tokens
    BertForSequenceClassification(config).save_pretrained(tmp_path / "base")
    both = make_adapted(tmp_path / "adapter", base), make_examples(tmp_path / "examples", train=64)
    stage = trainer(num_train_epochs=1, train_batch_size=64, per_device_train_batch_size=64)
    small = train(replace(stage, per_device_train_batch_size=16), both, tmp_path / "small")

    def limited() -> None:
        torch.set_num_threads(1)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 400_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        trained = train(stage, both, tmp_path / "limited")
        sys.stdout.write(json.dumps([trained.per_device_train_batch_size, trained.steps]))

    ended = fork(limited)
    assert ended.code == 0, ended.stderr
    rows, steps = json.loads(ended.stdout)
    assert rows in (1, 2, 4, 8, 16, 32)
    assert steps == 1
    limited_model = replace(small, folder=tmp_path / "limited" / "adapter")
    assert largest_difference(small, limited_model) == pytest.approx(0, abs=1e-6)


# -- with errors as a GPU gives them ----------------------------------------------------------


@pytest.fixture
def too_many(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return what lets a forward pass fail that sees more rows than fit."""
    step, forward = Engine.compute_loss, Engine.evaluate

    def fit(training: int = 99, evaluation: int = 99, after: int = 0) -> list[int]:
        seen: list[int] = []

        def computed(self: Engine, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
            seen.append(len(inputs["input_ids"]))
            if seen[-1] > training and self.state.global_step >= after:
                raise torch.OutOfMemoryError(CUDA)
            return step(self, model, inputs, *given, **more)

        def evaluated(self: Engine, *given: Any, **more: Any) -> Any:
            collate = self.data_collator

            def collated(rows: Any) -> Any:
                if len(rows) > evaluation:
                    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling")
                return collate(rows)

            self.data_collator = collated
            try:
                return forward(self, *given, **more)
            finally:
                self.data_collator = collate

        monkeypatch.setattr(Engine, "compute_loss", computed)
        monkeypatch.setattr(Engine, "evaluate", evaluated)
        return seen

    return fit


def test_the_rows_at_once_are_halved_and_the_step_stays(
    given: Given,
    tmp_path: Path,
    too_many: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    small = train(trainer(per_device_train_batch_size=2), given, tmp_path / "small")
    too_many(training=2)
    trained = train(trainer(), given, tmp_path / "out")
    assert trained.per_device_train_batch_size == 2
    assert largest_difference(trained, small) == 0
    assert [
        record.getMessage().strip() for record in caplog.records if "out of" in record.message
    ] == [
        f"out of memory with {rows} rows at once; starting again with {rows // 2}, and twice the "
        "micro-batches: an optimizer step stays 8 rows"
        for rows in (8, 4)
    ]
    without = [{**line, "seconds": 0} for line in metrics(tmp_path / "out")]
    assert without == [{**line, "seconds": 0} for line in metrics(tmp_path / "small")]


def test_running_out_late_begins_again_from_the_start(
    given: Given, tmp_path: Path, too_many: Callable[..., list[int]]
) -> None:
    """What was trained with more rows at once is dropped, its checkpoints too."""
    small = train(trainer(per_device_train_batch_size=4), given, tmp_path / "small")
    too_many(training=4, after=8)
    trained = train(trainer(), given, tmp_path / "out")
    assert trained.per_device_train_batch_size == 4
    assert largest_difference(trained, small) == 0
    assert len(metrics(tmp_path / "out")) == len(metrics(tmp_path / "small"))
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {file.name for file in (tmp_path / "small").iterdir()}


def test_an_evaluation_that_runs_out_gets_smaller_batches_and_training_keeps_its_own(
    given: Given,
    tmp_path: Path,
    too_many: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    usual = train(trainer(num_train_epochs=1), given, tmp_path / "usual")
    too_many(evaluation=1)
    trained = train(trainer(num_train_epochs=1), given, tmp_path / "out")
    assert trained.per_device_train_batch_size == 8
    assert largest_difference(trained, usual) == 0
    assert trained.best_metric == usual.best_metric
    assert "out of memory with 4 rows at once in the evaluation; with 2 it goes on" in caplog.text
    assert "with 2 rows at once in the evaluation; with 1 it goes on" in caplog.text


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_one_row_that_does_not_fit_is_an_error_with_numbers(
    given: Given, tmp_path: Path, too_many: Callable[..., list[int]], where: str
) -> None:
    too_many(**{where: 0})
    with pytest.raises(
        OutOfMemoryError,
        match=r"^finetune: out of memory while \w+ing with one row at once, of up to 11 tokens: "
        r"this process holds [\d.]+ [MG]B, and [\d.]+ [MG]B of [\d.]+ [MG]B are free; lower",
    ) as caught:
        train(trainer(), given, tmp_path)
    assert caught.value.exit_code == 4
    assert not (tmp_path / "adapter").exists()


def test_an_attempt_that_was_killed_later_goes_on_with_what_fitted(
    given: Given, tmp_path: Path, too_many: Callable[..., list[int]]
) -> None:
    RowsAtOnce(training=2, evaluation=3, ran_out="before").remember(tmp_path)
    seen = too_many()
    trained = train(trainer(), given, tmp_path)
    assert max(seen) == 2
    assert trained.per_device_train_batch_size == 2
    assert remembered(tmp_path) is None, "the work is done"


def test_what_is_no_lack_of_memory_is_not_tried_again(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Engine, "compute_loss", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(trainer(), given, tmp_path)


@pytest.mark.slow
def test_of_two_processes_the_one_that_runs_out_leaves_word_and_the_next_attempt_fits(
    given: Given, tmp_path: Path, too_many: Callable[..., list[int]]
) -> None:
    stage = trainer(per_device_train_batch_size=2)
    small, _ = in_two_processes(stage, given, tmp_path / "small")
    too_many(training=2)
    told = in_two_processes(trainer(timeout=10), given, tmp_path / "out")
    assert any(
        isinstance(answer, str)
        and answer.startswith("OutOfMemoryError: finetune: out of memory with 4 rows at once; ")
        for answer in told
    ), told
    one, two = in_two_processes(trainer(), given, tmp_path / "out")
    assert isinstance(one, TrainedModel)
    assert one == two
    assert one.per_device_train_batch_size == 2
    assert isinstance(small, TrainedModel)
    assert largest_difference(one, small) == 0


# -- what counts as out of memory -------------------------------------------------------------


def errors() -> Iterator[tuple[BaseException, bool]]:
    for said in (
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if the allocation failed",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.",
        "data. DefaultCPUAllocator: not enough memory: you tried to allocate 25769803776 bytes.",
        "MPS backend out of memory (MPS allocated: 17.0 GB, other allocations: 384.00 KB)",
        "HIP out of memory. Tried to allocate 20.00 MiB",
        "Failed to CUDA calloc async 608 bytes",
        "std::bad_alloc",
        "could not create a memory object",
    ):
        yield RuntimeError(said), True
    yield torch.OutOfMemoryError(CUDA), True
    yield MemoryError(), True
    yield np._core._exceptions._ArrayMemoryError((9,), np.dtype(int)), True  # type: ignore[attr-defined]
    yield OSError(errno.ENOMEM, "Cannot allocate memory"), True
    deep = ValueError("a layer failed")
    deep.__cause__ = MemoryError()
    yield deep, True
    yield RuntimeError("CUDA error: device-side assert triggered"), False
    yield RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"), False
    yield RuntimeError("CUDA error: an illegal memory access was encountered"), False
    yield RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False
    yield RuntimeError("shape '[2, 3]' is invalid for input of size 5"), False
    yield OSError(errno.ENOSPC, "No space left on device"), False
    yield KeyError("out of memory"), False
    yield ValueError("out of memory is a film"), False


@pytest.mark.parametrize(("error", "is_one"), list(errors()), ids=repr)
def test_every_kind_is_recognised_and_nothing_else(error: BaseException, is_one: bool) -> None:
    assert is_out_of_memory(error) is is_one


# -- who starts again -------------------------------------------------------------------------


def test_an_attempt_that_left_no_word_is_not_repeated(tmp_path: Path) -> None:
    RowsAtOnce(training=4, evaluation=4, ran_out="an earlier run").remember(tmp_path)
    tries: list[int] = []

    def attempt() -> None:
        tries.append(1)
        raise OutOfMemoryError("one row does not fit")

    with pytest.raises(OutOfMemoryError, match="one row does not fit"):
        until_it_fits(tmp_path, attempt)
    assert len(tries) == 1


@pytest.mark.parametrize("rows", [1, 2, 13, 64])
def test_any_number_of_rows_is_down_to_one_in_few_halvings(tmp_path: Path, rows: int) -> None:
    tries: list[int] = []

    def attempt() -> str:
        now = remembered(tmp_path) or RowsAtOnce(training=rows, evaluation=1)
        tries.append(now.training)
        smaller = now.smaller(evaluating=False, step=rows)
        if smaller is None:
            return "fits"
        smaller.remember(tmp_path)
        raise OutOfMemoryError("too many")

    assert until_it_fits(tmp_path, attempt) == "fits"
    assert tries[-1] == 1
    assert len(tries) <= 1 + rows.bit_length()
    assert all(later == -(-earlier // 2) for earlier, later in pairwise(tries))


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b'{"training": 4}', b'{"other": 1}'])
def test_a_damaged_word_is_none(tmp_path: Path, said: bytes) -> None:
    RowsAtOnce(training=4, evaluation=4).remember(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(said)
    assert remembered(tmp_path) is None


@pytest.mark.slow
def test_processes_that_were_started_for_it_are_started_again(
    given: Given, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    placed = MultiGpu(num_processes=2, main_process_port=None).place(Starved())
    assert isinstance(placed, Several)
    trained = placed.run(given, tmp_path)
    assert trained.per_device_train_batch_size == 1
    assert (tmp_path / "attempts").read_text().split() == ["2", "1"]
    assert "out of memory with 2 rows at once; starting again with 1, and twice" in caplog.text
    assert not (tmp_path / ".launch").exists()
