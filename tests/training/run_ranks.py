"""What each rank of the run tests starts: runs one after the other in one start of the processes.

Each argument is a run's own arguments as JSON; ``--stop N`` among them sends SIGTERM to the last rank alone at the
N-th step, ``--apart`` makes each rank believe that it is on a machine of its own. The exit status of each goes to the
file named first.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

from parallel_ser.parallel.comm import context
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.tracing import clock
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.main import main


def stopping(arguments: list[str], last: bool = True) -> int:
    """Run ``main``; with ``--stop N`` the process sends itself SIGTERM when it begins its N-th step."""
    arguments = list(arguments)
    stop = 0
    if "--stop" in arguments:
        place = arguments.index("--stop")
        stop = int(arguments[place + 1])
        del arguments[place : place + 2]
    begun = count(1)
    plain = Strategy.train_step

    def step(self: Strategy, *given: Any) -> float:
        if next(begun) == stop and last:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, *given)

    Strategy.train_step = step  # type: ignore[method-assign]
    try:
        return main(arguments)
    finally:
        Strategy.train_step = plain  # type: ignore[method-assign]


if __name__ == "__main__":
    leave = HardExit()
    out, *runs = sys.argv[1:]
    last_rank = os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1)
    statuses = []
    with context.process_context("cpu", threads=1, timeout=300) as ranks:
        # one group for all runs: to make several in one process, one after the other, is a race in torch
        context.process_context = lambda *_, **__: nullcontext(ranks)  # type: ignore[assignment]
        own = clock.machine
        for run in runs:
            arguments = json.loads(run)
            clock.machine = (lambda: f"rank {ranks.rank}") if "--apart" in arguments else own
            try:
                statuses.append(stopping([one for one in arguments if one != "--apart"], last_rank))
            except SystemExit as ended:  # of a rank that leaves the telling to the first
                statuses.append(int(ended.code or 0))
    if last_rank:
        Path(out).write_text(json.dumps(statuses))
    leave(0)
