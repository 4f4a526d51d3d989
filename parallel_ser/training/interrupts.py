"""Ctrl-C and SIGTERM ask for a stop at the end of the step, so that nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


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
    """Note SIGINT and SIGTERM instead of obeying at once; a second one changes nothing."""
    request = Request()

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = request.signal or number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
