"""What processes of this machine do to each other: how much they slow each other down, and how fast bytes pass.

Measured once for a number of processes, in a few seconds, and kept in the cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from parallel_ser.errors import UserError
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.digests import cached_json, write_json
from parallel_ser.system.files import cache_folder, cache_key
from parallel_ser.system.launcher import owned, torchrun_options

VERSION = 11
LIMIT = 600  # seconds; a busy machine takes its time to start processes
GLOO = {"scatter": 2.0, "gather": 1.5}
"""See ``Link``: gloo's reduce-scatter is its all-reduce, of which each rank keeps a share; in its all-gather two ranks
hold up each other's messages through the one connection that they have (1.5 times on a link of 0.1 Gbit/s)."""


@dataclass(frozen=True)
class Link:
    """What passes between processes.

    Attributes:
        latency: seconds that a small message between two ranks costs them, which compute before and after it.
        bandwidth: bytes a second of a large one.
        reduce_latency: seconds that a small all-reduce over all ranks costs them, likewise.
        reduce_bandwidth: bytes a second that a rank sends in a large all-reduce.
        scatter: how many times the bytes that a reduce-scatter needs to send pass.
        gather: the same of an all-gather between two ranks.
    """

    latency: float = 0.0
    bandwidth: float = 1e30  # no limit; JSON has no infinity
    reduce_latency: float = 0.0
    reduce_bandwidth: float = 1e30
    scatter: float = 1.0
    gather: float = 1.0

    def narrowed(self, bandwidth: float) -> Link:
        """The same, through which no more bytes pass in a second."""
        return replace(
            self,
            bandwidth=min(self.bandwidth, bandwidth),
            reduce_bandwidth=min(self.reduce_bandwidth, bandwidth),
        )

    def divided(self, groups: float) -> Link:
        """What each of so many groups has of it that send at once."""
        return replace(self, bandwidth=self.bandwidth / groups, reduce_bandwidth=self.reduce_bandwidth / groups)

    def send(self, size: float) -> float:
        """Seconds for ``size`` bytes between two ranks."""
        return self.latency + size / self.bandwidth

    def collective(self, size: float, calls: float = 1.0) -> float:
        """Seconds for ``calls`` collectives in which a rank sends ``size`` bytes in all."""
        return calls * self.reduce_latency + size / self.reduce_bandwidth


@dataclass(frozen=True)
class HardwareModel:
    """Ranks and the links between them.

    Attributes:
        slowdown: how many times as long each of 1, 2, … processes takes when so many compute at once.
        within: what passes between the ranks of a machine.
        flops: of a device, where it is not this machine that is planned for; 0 means measured times.
        overheads: seconds that a strategy takes, by its name, beside computing and messages: for each action of its
            schedule; ``fsdp`` for each block and micro-batch.
        jitter: share by which work takes longer where all ranks meet every few milliseconds, for the slowest of them.
        resident: bytes that torch takes once in each process that trains, beside the model's.
        local: ranks of each machine, which follow each other; 0 is all.
        between: what passes from each machine to the others, which its ranks share.
    """

    slowdown: tuple[float, ...]
    within: Link = Link()
    flops: float = 0.0
    overheads: Mapping[str, float] = field(default_factory=dict)
    jitter: float = 0.0
    resident: float = 0.0
    local: int = 0
    between: Link | None = None

    def slower(self, active: float) -> float:
        """The slowdown with so many processes at work, between the measured numbers in a straight line."""
        active = min(max(1.0, active), float(len(self.slowdown)))
        below = int(active)
        above = min(below + 1, len(self.slowdown))
        share = active - below
        return self.slowdown[below - 1] * (1 - share) + self.slowdown[above - 1] * share

    def among(self, ranks: Sequence[int], groups: float = 1.0) -> Link:
        """What ``ranks`` have among them, where so many groups of ranks send at once."""
        if self.between is None or len({rank // self.local for rank in ranks}) < 2:
            return self.within
        return self.between.divided(groups)

    def wire(self, here: int, there: int) -> Hashable:
        """What a message from a rank to another occupies: its machine's link to all others, or the way between both."""
        if self.between is None or here // self.local == there // self.local:
            return here, there
        return here // self.local


def described(ranks: int, latency: float, bandwidth: float, flops: float) -> HardwareModel:
    """A machine that is not here: its devices do not disturb each other."""
    steps = max(1.0, 2.0 * (ranks - 1))
    return HardwareModel((1.0,) * ranks, Link(latency, bandwidth, steps * latency, bandwidth), flops)


def joined(machine: HardwareModel, machines: int, ranks: int, latency: float, bandwidth: float) -> HardwareModel:
    """So many machines like one that was measured, with ``ranks`` in all, and a link from each to the others.

    Args:
        machine: with as many ranks as one has, or more.
        machines: how many.
        ranks: of all of them.
        latency: of the link, seconds.
        bandwidth: of it, bytes a second in each direction.
    """
    local = ranks // machines
    link = Link(latency, bandwidth, 2 * (machines - 1) * latency, bandwidth, **({} if machine.flops else GLOO))
    return replace(machine, slowdown=machine.slowdown[:local], local=local, between=link)


def probe(ranks: int, threads: int, folder: Path | None = None, share: bool = True) -> HardwareModel:
    """This machine with so many processes of so many threads, from the cache where it was measured before.

    Args:
        ranks: the processes.
        threads: of each.
        folder: of what is kept; the user's cache by default.
        share: whether messages pass through memory.

    Raises:
        UserError: the processes that measure it did not come to an end.
    """
    import torch

    from parallel_ser.system.environment import processor

    facts = [VERSION, ranks, threads, share, processor(), usable_cores(), torch.__version__]
    path = (folder or cache_folder()) / "machines" / f"{cache_key(facts)}.json"
    if kept := cached_json(path):
        return _of_json(kept)
    command = [sys.executable, "-m", "torch.distributed.run", *torchrun_options(ranks)]
    command += ["-m", "parallel_ser.parallel.cost.measure_hardware", *([] if share else ["sockets"])]
    surroundings = owned({**os.environ, "OMP_NUM_THREADS": str(threads)})
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=surroundings, check=True)
        measured = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UserError(f"measuring this machine with {ranks} processes failed: {error}.") from error
    machine = _of_json(measured)
    write_json(path, asdict(machine))
    return machine


def _of_json(written: Mapping[str, Any]) -> HardwareModel:
    return HardwareModel(**{**written, "slowdown": tuple(written["slowdown"]), "within": Link(**written["within"])})
