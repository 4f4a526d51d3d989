"""How far the clocks of a run's machines are apart; the processes of one machine share one."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from parallel_ser.parallel.comm.context import ProcessContext

ROUNDS = 16


def machine() -> str:
    """What the processes that share a monotonic clock have in common: the host and when it was started."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"


def estimate(rounds: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """How far the other clock is ahead, and how wrong that can be, in seconds.

    The quickest round says most: the answer was given at some moment of it, at best half way (Cristian 1989).

    >>> estimate([(0.0, 105.0, 10.0), (20.0, 121.5, 21.0)])
    (101.0, 0.5)

    Args:
        rounds: each with our time when we asked, theirs when they answered, and ours when we heard it.
    """
    asked, answered, heard = min(rounds, key=lambda one: one[2] - one[0])
    return answered - (asked + heard) / 2, (heard - asked) / 2


def offsets(mesh: ProcessContext) -> tuple[list[float], float]:
    """On every rank: how far each rank's clock is ahead of the first one's, and how wrong that can be, in seconds.

    Ranks on the first one's machine have its clock; each of the others is asked for its time, some rounds long.
    """
    if mesh.size == 1:
        return [0.0], 0.0
    machines: list[str] = [""] * mesh.size
    dist.all_gather_object(machines, machine())
    table = torch.zeros(mesh.size, 2, dtype=torch.float64, device=mesh.device)
    for other in range(1, mesh.size):
        if machines[other] != machines[0] and mesh.rank in (0, other):
            table[other] = torch.tensor(_ask(mesh, other), dtype=torch.float64)
    dist.broadcast(table, 0)
    ahead, wrong = table.T.tolist()
    return ahead, max(wrong)


def _ask(mesh: ProcessContext, other: int) -> tuple[float, float]:
    """Some rounds between the first rank and another; the first knows the result."""
    told = torch.zeros(1, dtype=torch.float64, device=mesh.device)
    rounds = []
    for _ in range(ROUNDS):
        asked = time.perf_counter()
        if mesh.first:
            dist.send(told, other)
            dist.recv(told, other)
            rounds.append((asked, told.item(), time.perf_counter()))
        else:
            dist.recv(told, 0)
            told.fill_(time.perf_counter())
            dist.send(told, 0)
    return estimate(rounds) if rounds else (0.0, 0.0)
