"""The signals by which a program is asked to end: Ctrl-C, ``kill``, a closed terminal, Ctrl-\\.

By default the last three end a process at once, with what it was about to finish, to say and to remove.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINAL = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""What a terminal sends to all processes of a command."""
SIGNALS = (*TERMINAL, signal.SIGTERM)
INTERRUPTED = "interrupted"
"""What a command says of them."""
AGAIN = 1.0
"""Seconds within which a second signal is the first one, come by another way."""


class Ended(KeyboardInterrupt):
    """One of the signals came; ``number`` says which."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a process that a signal has ended, as a shell has it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT)


def heeded() -> list[signal.Signals]:
    """The signals, without those that whoever started this process has it ignore, as ``nohup`` does SIGHUP.

    SIGINT is heeded in any case: a shell has the jobs of its background ignore it, which ``kill`` may yet mean.
    """
    ignored = {one for one in SIGNALS if signal.getsignal(one) == signal.SIG_IGN} - {signal.SIGINT}
    return [one for one in SIGNALS if one not in ignored]


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Within it the handler has the signals; nothing outside of the main thread, to which alone they come."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in heeded()}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def ignore() -> None:
    """Hear of no signal any more: this process is about to end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def as_exceptions() -> Iterator[None]:
    """Within it a signal raises ``Ended``, as Ctrl-C does KeyboardInterrupt, so that what is begun is tidied up.

    One that follows within ``AGAIN`` seconds is not heard: a terminal's may reach a process twice.
    """
    last = -AGAIN

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= AGAIN:
            raise Ended(number)

    with handled(end):
        yield
