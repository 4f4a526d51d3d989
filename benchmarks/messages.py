"""Messages through shared memory against gloo's sockets: by themselves, and under each strategy; and processes bound.

    python benchmarks/messages.py --ranks 2 --size s --batch 32 --frames 128 --rounds 5

By themselves: groups of both kinds in the same processes, whose calls take turns. Under a strategy: each measurement is
a fresh start of the processes (2 steps to warm up, then the median of 6); rounds go through each strategy with both
kinds, and with shared memory and every process kept to a core of its own (``train.bind``), and one process with one
thread and several numbers of micro-batches, in turn. The figure is the median over the rounds. Efficiency is the speed
over that of so many times one process with the number of micro-batches that is its fastest; the schedule's bound is
m / (m + p - 1) of so many times one process with as many micro-batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from planner import measure
from resident import table
from torch import Tensor

from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.environment import environment
from parallel_ser.system.files import write_text
from parallel_ser.system.hard_exit import HardExit

SIZES = [4 << 10, 64 << 10, 512 << 10, 4 << 20, 16 << 20]
TURNS = 21
ALONE = {parts: f"one process, one thread ×{parts}" for parts in (1, 4, 8)}
TOGETHER = {parts: f"one process, all threads ×{parts}" for parts in (1, 4)}
KINDS = {"memory": (True, False), "sockets": (False, False), "bound": (True, True)}
CASES: dict[str, dict[str, Any]] = {
    "tensor_split time": {"name": "tensor_split", "axis": "time", "microbatches": 1},
    "tensor_split channel": {"name": "tensor_split", "axis": "channel", "microbatches": 1},
    "pipeline 1f1b ×4": {"name": "pipeline", "microbatches": 4},
    "pipeline 1f1b ×8": {"name": "pipeline", "microbatches": 8},
    "deepspeed 1f1b ×8": {"name": "deepspeed", "microbatches": 8},
    "layer_split": {"name": "layer_split", "microbatches": 1},
    "ddp": {"name": "ddp", "microbatches": 2},
    "fsdp": {"name": "fsdp", "microbatches": 1},
}


def seconds(call: Callable[[], object]) -> float:
    """Of one call, begun by all ranks at once; of the slowest."""
    dist.barrier()
    began = time.perf_counter()
    call()
    took = torch.tensor([time.perf_counter() - began])
    dist.all_reduce(took, dist.ReduceOp.MAX)
    return float(took)


def total(x: Tensor, group: dist.ProcessGroup | None) -> None:
    """The sum over all ranks."""
    dist.all_reduce(x.zero_(), group=group)


def there_and_back(x: Tensor, group: dist.ProcessGroup | None) -> None:
    """From the first rank to the second and back."""
    rank = dist.get_rank()
    if rank < 2:
        for receives in (rank == 1, rank == 0):
            (dist.recv if receives else dist.send)(x, 1 - rank, group=group)


def rank() -> None:
    """One process of the first part; the first prints the medians."""
    leave = HardExit()
    with process_context("cpu", threads=1, timeout=300) as ranks:
        groups: dict[str, Any] = {"memory": dist.group.WORLD, "sockets": dist.new_group(backend="gloo")}
        found = {}
        for size in SIZES:
            x = torch.ones(size // 4)
            calls: dict[str, Callable[[], object]] = {}
            for name, group in groups.items():
                calls[f"sum, {name}"] = partial(total, x, group)
                calls[f"there and back, {name}"] = partial(there_and_back, x, group)
            taken: dict[str, list[float]] = {name: [] for name in calls}
            for turn in range(TURNS + 2):
                for name, call in calls.items():
                    took = seconds(call)
                    if turn > 1:
                        taken[name].append(took)
            found[size] = {name: statistics.median(all_) for name, all_ in taken.items()}
        if ranks.first:
            print("RESULT " + json.dumps(found), flush=True)
    leave(0)


def report(steps: dict[str, list[float]], cases: list[str], ranks: int) -> None:
    """Print the table of the strategies."""
    middle = {name: statistics.median(each) for name, each in steps.items()}
    one = steps[min(ALONE.values(), key=middle.__getitem__)]
    heads = ["strategy", "ms a step, memory", "sockets", "× as fast", "bound", "× as fast", "efficiency", "sockets"]
    rows = []
    for name in (*ALONE.values(), *TOGETHER.values()):
        rows.append([name, f"{1e3 * middle[name]:.0f}", *[""] * 7])
    for name in cases:
        fast, slow, kept = (steps[f"{name}, {kind}"] for kind in KINDS)
        gains = [sorted(b / a for a, b in zip(*pair)) for pair in ((fast, slow), (kept, fast))]
        faster, steadier = (f"{statistics.median(one):.2f} ({one[0]:.2f} to {one[-1]:.2f})" for one in gains)
        shares = [statistics.median(a / b / ranks for a, b in zip(one, kind)) for kind in (fast, slow)]
        bound = ""
        if "1f1b" in name:
            parts = CASES[name]["microbatches"]
            best = [whole / ranks * (parts + ranks - 1) / parts for whole in steps[ALONE[parts]]]
            bound = f"{statistics.median(a / b for a, b in zip(best, fast)):.2f}"
        memory, sockets, own = (f"{1e3 * middle[f'{name}, {kind}']:.0f}" for kind in KINDS)
        rows.append([name, memory, sockets, faster, own, steadier, *(f"{one:.2f}" for one in shares), bound])
    print("\n" + table([*heads, "of the bound"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--size", default="s")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/messages.json")
    given = parser.parse_args()
    if given.rank:
        rank()
    starts = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={given.ranks}"]
    done = subprocess.run([*starts, __file__, "--rank"], capture_output=True, text=True, check=True)
    messages = json.loads(done.stdout.partition("RESULT ")[2])
    heads = ["KiB", *(f"{name}, µs" for name in messages[str(SIZES[0])])]
    print(
        table(
            heads,
            [[f"{int(size) >> 10}", *(f"{1e6 * one:.0f}" for one in row.values())] for size, row in messages.items()],
        )
    )
    jobs: dict[str, tuple[Any, ...]] = {
        name: (StrategySettings(name="single", microbatches=parts), 1, threads)
        for names, threads in ((ALONE, 1), (TOGETHER, given.ranks))
        for parts, name in names.items()
    }
    jobs |= {
        f"{name}, {kind}": (StrategySettings.model_validate(CASES[name]), given.ranks, 1, *how)
        for name in given.cases
        for kind, how in KINDS.items()
    }
    steps: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(given.rounds):
        for name, (settings, ranks, threads, *how) in jobs.items():
            measured = measure(settings, ranks, threads, given, *how)
            if measured is None:
                raise SystemExit(f"{name} failed")
            steps[name].append(statistics.median(measured["steps"]))
        print(f"round {turn + 1} of {given.rounds} done", file=sys.stderr)
    report(steps, given.cases, given.ranks)
    what = {key: value for key, value in vars(given).items() if key not in ("rank", "out")}
    record = {"environment": environment(given.ranks, 1), "what": what, "messages": messages, "steps": steps}
    write_text(given.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
