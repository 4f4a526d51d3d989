"""What torchrun says when a run of ours ends: nothing, for the rank that failed or was stopped has said it.

torchrun would add its log and a traceback of itself. It loads this module by the entry point ``torchrun.handlers``, by
which packages bring a rendezvous of their own; other programs that it starts are left alone.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

ENTRY = "parallel_ser.training.main"
"""What a rank of ours runs, as a module or by a script that names it."""


def rendezvous() -> Any:
    """Called by torchrun as it starts; returns what it registers, a rendezvous that nobody is to ask for."""
    if "TORCHELASTIC_RUN_ID" not in os.environ and starts_ours(sys.argv) and not wants_all(sys.argv):
        logging.disable(logging.ERROR)
        sys.excepthook = _end
    return _none


def starts_ours(arguments: Sequence[str]) -> bool:
    """Whether the command line of torchrun starts ranks of ours."""
    for before, word in zip(("", *arguments[1:]), arguments[1:], strict=False):
        if before in ("-m", "--module"):
            return word == ENTRY
        if word.endswith(".py"):
            try:
                return ENTRY in Path(word).read_text(encoding="utf-8")
            except (OSError, ValueError):
                return False
    return False


def wants_all(arguments: Sequence[str]) -> bool:
    """Whether tracebacks are wanted."""
    return "--debug" in arguments or bool(os.environ.get("PARALLEL_SER_DEBUG"))


def killed(rank: int, signal: int) -> str:
    """A sentence about a rank that could say nothing any more."""
    return (
        f"process {rank} of the run was killed by signal {signal} (9 is most likely for want of memory); the run goes "
        f"on from its last checkpoint with run.resume=true."
    )


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be silent on how the ranks ended; an error of torchrun itself is shown as ever."""
    if kind.__name__ == "ChildFailedError":
        rank, failure = error.get_first_failure()  # type: ignore[attr-defined]
        if failure.exitcode < 0:
            print(f"error: {killed(rank, -failure.exitcode)}", file=sys.stderr)
    elif kind.__name__ != "SignalException":
        sys.__excepthook__(kind, error, trace)


def _none(*_: Any) -> NoReturn:
    raise ValueError("parallel-ser has no rendezvous of its own; use --rdzv_backend=c10d")
