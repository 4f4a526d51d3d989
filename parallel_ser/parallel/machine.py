"""What processes of this machine do to each other: how much they slow each other down, and how fast bytes pass.

Measured once for a number of processes, in a few seconds, and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from parallel_ser.errors import UserError
from parallel_ser.files import cache_folder, write_text

VERSION = 1
LARGE = 1 << 20  # floats of a large message


@dataclass(frozen=True)
class Machine:
    """Ranks and the links between them.

    Attributes:
        slowdown: how many times as long each of 1, 2, … processes takes when so many compute at once.
        latency: seconds that a small message takes from rank to rank.
        bandwidth: bytes a second of a large one.
        reduce_latency: seconds of a small all-reduce over all ranks.
        reduce_bandwidth: bytes a second that a rank sends in a large all-reduce.
        flops: of a device, where it is not this machine that is planned for; 0 means measured times.
    """

    slowdown: tuple[float, ...]
    latency: float
    bandwidth: float
    reduce_latency: float
    reduce_bandwidth: float
    flops: float = 0.0

    def slower(self, active: float) -> float:
        """The slowdown with so many processes at work, between the measured numbers in a straight line."""
        active = min(max(1.0, active), float(len(self.slowdown)))
        below = int(active)
        above = min(below + 1, len(self.slowdown))
        share = active - below
        return self.slowdown[below - 1] * (1 - share) + self.slowdown[above - 1] * share

    def send(self, size: float) -> float:
        """Seconds for ``size`` bytes between two ranks."""
        return self.latency + size / self.bandwidth

    def collective(self, size: float, calls: float = 1.0) -> float:
        """Seconds for ``calls`` collectives in which a rank sends ``size`` bytes in all."""
        return calls * self.reduce_latency + size / self.reduce_bandwidth


def described(ranks: int, latency: float, bandwidth: float, flops: float) -> Machine:
    """A machine that is not here: its devices do not disturb each other."""
    steps = max(1.0, 2.0 * (ranks - 1))
    return Machine((1.0,) * ranks, latency, bandwidth, steps * latency, bandwidth, flops)


def probe(ranks: int, threads: int, folder: Path | None = None) -> Machine:
    """This machine with so many processes of so many threads, from the cache where it was measured before.

    Raises:
        UserError: the processes that measure it did not come to an end.
    """
    import torch

    from parallel_ser.parallel.profile import processor

    facts = [VERSION, ranks, threads, processor(), len(os.sched_getaffinity(0)), torch.__version__]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    path = (folder or cache_folder()) / "machines" / f"{name}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Machine(**{**kept, "slowdown": tuple(kept["slowdown"])})
    except (OSError, ValueError, KeyError, TypeError):
        pass
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command += ["-m", "parallel_ser.parallel.machine"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=surroundings, check=True)
        measured = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UserError(f"measuring this machine with {ranks} processes failed: {error}.") from error
    machine = Machine(**{**measured, "slowdown": tuple(measured["slowdown"])})
    write_text(path, json.dumps(asdict(machine), indent=1) + "\n")
    return machine


def _measure() -> None:
    """One rank of the measurement; the first prints it."""
    import torch
    import torch.distributed as dist

    from parallel_ser.parallel.processes import leave, mesh

    with mesh("cpu", timeout=60) as ranks:
        x, weight = torch.randn(4, 32, 32, 64), torch.randn(32, 32, 3, 3)

        def work() -> None:
            torch.nn.functional.conv2d(x, weight, padding=1).relu().add_(x)

        took = []
        for active in range(1, ranks.size + 1):
            dist.barrier()
            mine = _median(work, 0.2) if ranks.rank < active else 0.0
            times = torch.tensor([mine])
            dist.all_reduce(times, dist.ReduceOp.MAX)
            took.append(float(times))
        small, large = torch.zeros(1), torch.zeros(LARGE)
        result = Machine(
            slowdown=tuple(one / took[0] for one in took),
            latency=1e-5,
            bandwidth=1e10,
            reduce_latency=1e-6,
            reduce_bandwidth=1e10,
        )
        if ranks.size > 1:

            def there_and_back(what: torch.Tensor) -> Callable[[], None]:
                def turn() -> None:
                    if ranks.rank == 0:
                        dist.send(what, 1)
                        dist.recv(what, 1)
                    elif ranks.rank == 1:
                        dist.recv(what, 0)
                        dist.send(what, 0)

                return turn

            latency = _median(there_and_back(small), count=60) / 2
            transfer = _median(there_and_back(large), count=12) / 2
            dist.barrier()
            reduce_small = _median(lambda: dist.all_reduce(small), count=60)
            reduce_large = _median(lambda: dist.all_reduce(large), count=12)
            sent = 4 * LARGE * 2 * (ranks.size - 1) / ranks.size
            result = Machine(
                slowdown=result.slowdown,
                latency=latency,
                bandwidth=4 * LARGE / max(1e-9, transfer - latency),
                reduce_latency=reduce_small,
                reduce_bandwidth=sent / max(1e-9, reduce_large - reduce_small),
            )
        if ranks.first:
            print(json.dumps(asdict(result)), flush=True)
    leave(0)


def _median(work: Callable[[], object], seconds: float = 0.0, count: int = 0) -> float:
    work()
    began = time.perf_counter()
    times: list[float] = []
    while len(times) < count or (not count and time.perf_counter() - began < seconds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    _measure()
