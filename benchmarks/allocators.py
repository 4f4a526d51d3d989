"""A step of one process as memory is allocated in ours (``resident.keep_freed``), and in other ways.

    python benchmarks/allocators.py --library tcmalloc=FILE.so --library jemalloc=FILE.so --size m --rounds 5

A library is preloaded (Debian has them as ``libtcmalloc-minimal4`` and ``libjemalloc2``). Each measurement is a fresh
process (2 steps to warm up, then the median of 6); rounds go through all in turn; a ratio is the median over the rounds
of two times of one round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

from planner import measure

from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.environment import environment
from parallel_ser.system.files import write_text

GLIBC = "glibc as it comes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--size", default="m")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--microbatches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/allocators.json")
    given = parser.parse_args()
    untouched = {"MALLOC_PERTURB_": "0"}  # what glibc does anyway, but ours then leaves it as it comes
    cases = {GLIBC: untouched, "glibc, huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, "ours": {}}
    cases |= {name: {"LD_PRELOAD": file} for name, _, file in (one.partition("=") for one in given.library)}
    threads = usable_cores()
    settings = StrategySettings(name="single", microbatches=given.microbatches)
    steps: dict[str, list[float]] = {name: [] for name in cases}
    peaks: dict[str, list[float]] = {name: [] for name in cases}
    before = dict(os.environ)
    for _ in range(given.rounds):
        for name, changes in cases.items():
            os.environ.update(changes)
            measured = measure(settings, 1, threads, given)
            os.environ.clear()
            os.environ.update(before)
            if measured is None:
                raise SystemExit(f"{name} failed")
            steps[name].append(statistics.median(measured["steps"]))
            peaks[name].append(max(measured["peaks"]))
    print("| allocator | ms a step | times as fast as glibc | MiB |")
    for name, own in steps.items():
        ratios = sorted(plain / one for plain, one in zip(steps[GLIBC], own))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {name} | {1e3 * statistics.median(own):.0f} | {spread} | {max(peaks[name]) / 2**20:.0f} |")
    what = {key: value for key, value in vars(given).items() if key not in ("out", "library")}
    record = {"environment": environment(1, threads), "what": what, "steps": steps, "peaks": peaks}
    record["environment"]["command"] = Path(__file__).name
    write_text(given.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
