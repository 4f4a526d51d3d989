"""Ctrl-C, SIGTERM and a closed terminal ask for a stop at the end of the step, so that nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from parallel_ser.system import stops


class Stopped(Exception):
    """The run was asked to stop, and has saved where it stands."""

    def __init__(self, where: str) -> None:
        super().__init__(where)


@dataclass
class Request:
    """Which signal has asked for a stop; 0 is none."""

    signal: int = 0


@contextmanager
def heed() -> Iterator[Request]:
    """Note the signals of ``system.stops`` instead of obeying at once; a second one changes nothing.

    Where something fails before a stop is made, the signal is obeyed after all: torchrun sends SIGTERM to the ranks
    that are left when one is lost, and what those then say of lost connections would hide the cause.
    """
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = request.signal or number

    failed = True
    try:
        with stops.handled(note):
            yield request
            failed = False
    finally:
        if failed and request.signal:
            signal.signal(request.signal, signal.SIG_DFL)
            os.kill(os.getpid(), request.signal)
