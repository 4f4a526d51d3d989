"""Fresh processes for each measurement, forked from one that has imported everything and computed nothing."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

PRELOADED = ("parallel_ser.bench.worker", "parallel_ser.parallel.engine.strategy")


class Pool:
    """Starts the ranks of a measurement; importing torch for each would take longer than what is measured.

    Args:
        imports: packages to import too; else a rank that needs one does so by itself.
    """

    def __init__(self, imports: Iterable[str] = ()):
        if not torch.cuda.is_available():
            os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it looked for another one
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([*PRELOADED, *sorted(imports)])

    def run(self, task: Any, ranks: int, seconds: float) -> dict[str, Any]:
        """What the first rank's work gives, or ``problem``; whatever happens, no process is left.

        Args:
            task: a ``worker.Work``.
            ranks: processes.
            seconds: after which the ranks are ended.
        """
        port = _free_port()
        pipes, processes = [], []
        for number in range(ranks):
            ours, theirs = self.context.Pipe(duplex=False)
            process = self.context.Process(target=_rank, args=(task, number, ranks, port, theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        try:
            return _told(pipes, processes, time.monotonic() + seconds, seconds)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _told(pipes: list[Connection], processes: list[Any], until: float, seconds: float) -> dict[str, Any]:
    """What the first rank found, or the first problem."""
    alive = dict(zip(pipes, processes, strict=True))
    while alive:
        ready = wait(list(alive), timeout=max(0.0, until - time.monotonic()))
        if not ready:
            return {"problem": f"not done after {seconds:.0f} s"}
        for pipe in ready:
            assert isinstance(pipe, Connection)
            process = alive.pop(pipe)
            try:
                said = pipe.recv()
            except EOFError:
                process.join(5)
                if process.exitcode not in (0, None):
                    return {"problem": f"rank {processes.index(process)} was ended by {_cause(process.exitcode)}"}
                continue
            if "problem" in said:
                return dict(said)
            return dict(said["found"])
    return {"problem": "no rank told anything"}


def _cause(exitcode: int) -> str:
    return f"signal {-exitcode}" if exitcode < 0 else f"exit status {exitcode}"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _rank(task: Any, number: int, ranks: int, port: int, pipe: Connection) -> None:
    from parallel_ser.bench.worker import rank

    rank(task, number, ranks, port, pipe.send)
