"""`torchrun -m pipeline` and `accelerate launch -m pipeline`: one process leads, the rest follow.

The leader runs every stage. The followers wait, for as long as it takes, on the store that the
launcher keeps, until the leader puts finetune's work there or ends.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pipeline.errors import CheckError, MachineError, StageError, StoppedError
from pipeline.launch.job import Job

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]  # not in its stubs

__all__ = ["assert_asked_processes", "follow", "hand_over", "is_follower"]

_LONGEST_PREPARATION = timedelta(days=1)
_handed_over = count()


def is_follower() -> bool:
    """Whether this process only helps with finetune."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and int(os.environ.get("RANK", "0")) > 0


def follow() -> None:
    """Take part in every finetune of the leader; return when the leader has ended.

    Raises:
        MachineError: This machine lacks something. An error that the leader meets as well is left
            to the leader to tell.
    """
    store = _store()
    for number in count():
        told = store.get(f"job-{number}")
        if not told:
            return
        job = Job.from_json(told)
        try:
            job.build().run(job.given, job.folder)
        except (StageError, CheckError, StoppedError) as error:
            # The launcher stops everyone when one process fails: the leader must speak first.
            store.wait([f"job-{number + 1}"])
            raise SystemExit(error.exit_code) from error


def hand_over(job: Job) -> None:
    """Give the followers their work; called by the leader."""
    _store().set(f"job-{next(_handed_over)}", job.to_json().decode())


def assert_asked_processes() -> None:
    """Check that the launcher has started what it was asked for; let followers go at the end.

    Raises:
        MachineError: `accelerate launch --cpu` starts one process, whatever it is asked for. Or
            several processes were started by something that keeps no store for them.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    asked = _asked(_command_of_parent())
    if asked is not None and asked != started:
        raise MachineError(
            f"asked for {asked} processes, {started} started; use torchrun --nproc_per_node "
            f"{asked} -m pipeline ... or launch=multi_gpu launch.num_processes={asked}"
        )
    if started > 1:
        atexit.register(_let_go, _store())  # torch cannot be imported any more at the end


def _let_go(store: Store) -> None:
    store.set(f"job-{next(_handed_over)}", "")


def _command_of_parent() -> Sequence[str]:
    try:
        parent = psutil.Process().parent()
        return [] if parent is None else parent.cmdline()
    except psutil.Error:
        return []


def _asked(command: Sequence[str]) -> int | None:
    """Return the number after `--num_processes` of an accelerate command line."""
    if not any("accelerate" in Path(word).name for word in command):
        return None
    found = re.search(r"--num[_-]processes[= ](\d+)", " ".join(command))
    return None if found is None else int(found.group(1))


def _store() -> Store:
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # not in its stubs

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise MachineError(
            "launch: several processes were started, but not by torchrun or accelerate launch; "
            "use one of them, or launch=multi_gpu"
        )
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    server = TCPStore(address, port, is_master=False, timeout=_LONGEST_PREPARATION)
    store: Store = PrefixStore("pipeline/launch", server)
    return store
