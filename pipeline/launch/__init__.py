"""Where finetune runs: in this process, or in several; and how several find one another."""

from pipeline.launch.follow import assert_asked_processes, follow, is_follower
from pipeline.launch.local import Local, trains
from pipeline.launch.multi_gpu import MultiGpu
from pipeline.launch.processes import signals_as_exceptions

__all__ = [
    "Local",
    "MultiGpu",
    "assert_asked_processes",
    "follow",
    "is_follower",
    "signals_as_exceptions",
    "trains",
]
