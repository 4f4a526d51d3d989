"""A rank that does as it is told: ``CASE LIMIT``; rank 1 does it, the others wait for a message of rank 1."""

from __future__ import annotations

import os
import signal
import sys
import time

import torch
import torch.distributed as dist

from parallel_ser.parallel.comm.context import process_context


def misbehave(case: str) -> None:
    """What rank 1 does instead of sending."""
    match case:
        case "frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fails":
            raise ValueError("its own error")
        case "busy":
            until = time.monotonic() + 9.0  # of Python and of torch, twice the limit
            while time.monotonic() < until:
                sum(range(10**6))
                torch.ones(10**6).exp().sum()
        case "paused":  # by the test, meanwhile
            print("begun", flush=True)
            time.sleep(3.0)


def main() -> None:
    case, limit = sys.argv[1], float(sys.argv[2])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in a shell's background has it ignored
    with process_context("cpu", share="sockets" not in case, peer_timeout=limit, advice="Do as advised.") as ranks:
        x = torch.zeros(4)
        dist.all_reduce(x)
        if ranks.rank == 1:
            misbehave(case.partition("-")[0])
        dist.all_reduce(x)
    print("done", flush=True)


if __name__ == "__main__":
    main()
