"""Cores of a rank's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def cores_of(local_rank: int, ranks: int, threads: int, nodes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The cores of a rank: ``threads`` of its own, of one memory node where they fit; none where there are too few.

    >>> cores_of(1, 2, 2, [[0, 1, 2, 3]])
    (2, 3)
    >>> cores_of(1, 2, 3, [[0, 1, 2, 3], [4, 5, 6, 7]])
    (4, 5, 6)

    Args:
        local_rank: among this machine's ranks.
        ranks: of this machine.
        threads: of each.
        nodes: the cores that may be used, by memory node.
    """
    fitting = [node[start : start + threads] for node in nodes for start in range(0, len(node) - threads + 1, threads)]
    if len(fitting) < ranks:
        every = [core for node in nodes for core in node]
        fitting = [every[start : start + threads] for start in range(0, len(every) - threads + 1, threads)]
    return tuple(fitting[local_rank]) if len(fitting) >= ranks else ()


def memory_nodes() -> list[list[int]]:
    """The cores that this process may use, by memory node; one node where the system does not tell."""
    allowed = sorted(os.sched_getaffinity(0))
    found = []
    for path in sorted(Path("/sys/devices/system/node").glob("node[0-9]*/cpulist")):
        spans = [part.split("-") for part in path.read_text().strip().split(",") if part]
        cores = {core for span in spans for core in range(int(span[0]), int(span[-1]) + 1)}
        found.append([core for core in allowed if core in cores])
    return [node for node in found if node] or [allowed]


def pin_cores(threads: int) -> tuple[int, ...]:
    """Keep this rank, with all threads that it has and will have, to cores of its own; returns them.

    Where ranks × threads are more than the cores it does nothing and returns none.
    """
    rank, ranks = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    own = cores_of(rank, ranks, threads, memory_nodes())
    for task in Path("/proc/self/task").iterdir() if own else ():
        with suppress(OSError):  # it has ended meanwhile
            os.sched_setaffinity(int(task.name), own)
    return own
