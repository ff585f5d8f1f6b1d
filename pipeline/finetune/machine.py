"""The device, its precision, and the other processes."""

from __future__ import annotations

import logging
import os
import platform
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Literal

from pipeline.errors import MachineError

__all__ = [
    "Device", "LostProcessError", "Precision", "find_device", "find_precision", "processes",
    "quiet",
]  # fmt: skip

Device = Literal["cpu", "cuda"]
Precision = Literal["no", "bf16", "fp16"]

_meetings = count()
_LOST = re.compile(r"time[d ]*out|connection|broken pipe|peer|gloo.transport|nccl", re.IGNORECASE)


class LostProcessError(MachineError):
    """Another process ended or hangs: a consequence, the cause is over there."""


def find_device(asked: Literal["auto", "cpu", "cuda"]) -> Device:
    """Return where to train.

    Raises:
        MachineError: There is no GPU, or there are fewer than processes on this machine.
    """
    import torch

    told_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes"}
    if asked == "cpu" or (asked == "auto" and (told_cpu or not torch.cuda.is_available())):
        return "cpu"
    if not torch.cuda.is_available():
        raise MachineError("finetune.device: no CUDA GPU on this machine; use auto or cpu")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > torch.cuda.device_count():
        raise MachineError(
            f"finetune: {here} processes need a GPU each, this machine has "
            f"{torch.cuda.device_count()}; start fewer, or use finetune.device=cpu"
        )
    return "cuda"


def find_precision(asked: Literal["auto", "no", "bf16", "fp16"], device: Device) -> Precision:
    """Return the precision of the forward pass; weights stay in float32.

    Raises:
        MachineError: The device cannot compute in what was asked for.
    """
    import torch

    if device == "cpu":
        if asked == "fp16":
            raise MachineError("finetune.mixed_precision: fp16 needs a GPU; use bf16, no or auto")
        return ("bf16" if _cpu_has_bf16() else "no") if asked == "auto" else asked
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "bf16" and not has_bf16:
        raise MachineError("finetune.mixed_precision: this GPU has no bf16; use fp16, no or auto")
    return ("bf16" if has_bf16 else "fp16") if asked == "auto" else asked


def _cpu_has_bf16() -> bool:
    told = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not told.is_file():
        return False
    flags = re.search(r"^(flags|Features)\s*:(.*)$", told.read_text(encoding="utf-8"), re.MULTILINE)
    return flags is not None and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(
        flags.group(2).split()
    )


@contextmanager
def processes(device: Device, timeout: float) -> Iterator[None]:
    """Meet the other processes of this run, if there are any, and part from them at the end.

    Raises:
        LostProcessError: Another process ended, or gave no word for `timeout` seconds.
    """
    import torch.distributed as group
    from accelerate.state import AcceleratorState, GradientState

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    try:
        if several:
            _meet(device, timedelta(seconds=timeout))
        yield
    except RuntimeError as error:
        if several and _LOST.search(str(error)):
            raise LostProcessError(
                "finetune: another process ended, or gave no word for finetune.timeout="
                f"{timeout:g} seconds: {str(error).splitlines()[0]}"
            ) from error
        raise
    finally:
        if group.is_initialized():
            group.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


def _meet(device: Device, timeout: timedelta) -> None:
    """Form the process group; the default waits half an hour for a process that hangs."""
    import torch
    import torch.distributed as group
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # not in its stubs

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if device == "cuda" else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        group.init_process_group(backend, timeout=timeout)
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=timeout)
    # A sweep trains more than once in a process: every training gets keys of its own.
    own = PrefixStore(f"pipeline/finetune/{next(_meetings)}", store)
    group.init_process_group(backend, timeout=timeout, store=own, rank=rank, world_size=size)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers and PEFT from talking over our own progress bar."""
    from transformers.utils import logging as told

    before, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity(logging.ERROR)
    told.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # PEFT still asks transformers by the old name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            yield
    finally:
        told.set_verbosity(before)
        if bars:
            told.enable_progress_bar()
