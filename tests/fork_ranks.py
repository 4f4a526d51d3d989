"""Ranks of a script on this machine, forked from one process that has imported torch: ``fork_ranks.py N SCRIPT …``.

They have the environment that torchrun gives. When one ends with another status than 0, the others end, and so does
this, with that status.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path

import torch._dynamo  # noqa: F401 (what each would import by itself)
from torch.distributed import TCPStore

import parallel_ser.parallel.engine.strategy
import parallel_ser.training.optim  # noqa: F401


def main() -> int:
    count, script, arguments = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": str(os.getpid()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    sys.stdout.flush()
    left = {os.fork() or rank_main(rank, script, arguments) for rank in range(count)}
    status = 0
    while left:
        ended, how = os.wait()
        left.discard(ended)
        if how and not status:
            status = os.waitstatus_to_exitcode(how)
            for other in left:
                os.kill(other, signal.SIGTERM)
    return status if status >= 0 else 128 - status


def rank_main(rank: int, script: Path, arguments: list[str]) -> int:
    """Be a rank; does not return."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    sys.argv = [str(script), *arguments]
    sys.path[0] = str(script.parent)
    status = 1
    try:
        runpy.run_path(str(script), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
