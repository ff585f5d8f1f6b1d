"""Do two things at once: one here, one in a copy of this process."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Beside"]

log = logging.getLogger(__name__)
Made = TypeVar("Made")

_SECONDS = 300.0
"""After which the copy is given up: it may wait for a lock that a thread held when it was made."""


class Beside(Generic[Made]):
    """Something that is being made while the caller goes on, inside a `with` block.

    The copy knows all that this process has imported and loaded, so it starts at once. Where a
    process cannot be copied safely, or there is one processor, the work is done when it is asked
    for; and it is done again here when the copy fails, so that an error is seen where it belongs.
    """

    def __init__(self, make: Callable[[], Made]) -> None:
        """Start.

        Args:
            make: Uses no graphics card; what it returns can be pickled.
        """
        self._make = make
        self._receiver: Connection | None = None
        if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
            context = multiprocessing.get_context("fork")
            self._receiver, sender = context.Pipe(duplex=False)
            self._process = context.Process(target=_send, args=(make, sender), daemon=True)
            self._process.start()
            sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the copy, whether or not anybody asked for the result."""
        if self._receiver is not None:
            self._process.kill()
            self._process.join()
            self._receiver.close()

    def result(self) -> Made:
        """Wait for it, and return it."""
        if self._receiver is not None:
            with suppress(EOFError, OSError):  # it ended without a word, or in the middle of one
                if self._receiver.poll(_SECONDS):
                    made: Made = self._receiver.recv()
                    return made
            log.debug("the copy made nothing")
        return self._make()


def _send(make: Callable[[], object], sender: Connection) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that was copied ends this one
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
    torch.set_num_threads(1)  # the threads of the process that was copied are not in the copy
    with suppress(Exception):  # it is made again, and fails again, where the caller sees it
        sender.send(make())
