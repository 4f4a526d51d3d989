"""Wall clock of a classical search over 1, 2, … processes, and that it finds the same.

``python benchmarks/classical_search.py ROOT [JOBS…] [--rounds N]``; ROOT is RAVDESS's folder. Whole commands from start
to exit, one thread a process, in turn (1, 2, 1, 2, …); the features lie in the cache before the first is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from parallel_ser.training.run_folder import environment


def once(root: Path, jobs: int, folder: Path) -> float:
    command = ["parallel-ser", "baseline", "svm", "--config", "configs/classical.yaml", f"corpus.root={root}"]
    command += [f"run.jobs={jobs}", f"run.folder={folder}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - began


def found(folder: Path) -> tuple[list[Any], bytes]:
    """What was chosen and every candidate's score, and the predictions."""
    searches = [json.loads(path.read_text()) for path in sorted(folder.glob("fold-*/search.json"))]
    return searches, (folder / "predictions.csv").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("jobs", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    seconds: dict[int, list[float]] = {jobs: [] for jobs in given.jobs}
    with tempfile.TemporaryDirectory() as scratch:
        once(given.root, max(given.jobs), Path(scratch) / "warm")
        first = found(Path(scratch) / "warm")
        for number in range(given.rounds):
            for jobs in given.jobs:
                folder = Path(scratch) / f"{jobs}-{number}"
                seconds[jobs].append(once(given.root, jobs, folder))
                if found(folder) != first:
                    sys.exit(f"{jobs} processes found something else")
    base = seconds[given.jobs[0]]
    print("| processes | seconds, median (least to most) | speed-up, median of rounds |\n| --- | --- | --- |")
    for jobs, times in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(base, times))
        print(f"| {jobs} | {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) | {ratio:.2f} |")
    Path("benchmarks/results/classical_search.json").write_text(
        json.dumps({"seconds": seconds, "environment": environment(max(given.jobs), 1)}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
