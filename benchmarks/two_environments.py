"""The same benchmarks under two environments in turn, such as two releases of torch: step times side by side.

    python benchmarks/two_environments.py TREE:PYTHON TREE:PYTHON [--rounds 2] [--scripts …] [--precisions …] [--out F]

Each TREE is a checkout whose packages PYTHON has. A round runs the scripts of each in turn: ``messages.py`` (the CNN m
under three strategies), ``pipelines.py`` and ``step.py``. The machine must be idle. A ratio is the second's time over
the first's, of one round; the table has medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from resident import table

from parallel_ser.system.files import write_text

Run = Callable[..., Any]
"""Runs a script of one environment with its words, the last of them the file of results; returns what is in it."""
CASES = ["tensor_split time", "tensor_split channel", "pipeline 1f1b ×8"]


def messages(run: Run, folder: Path) -> dict[str, float]:
    """Milliseconds of steps of three strategies, and microseconds of messages through shared memory."""
    read = run("messages.py", "--size", "m", "--rounds", "1", "--cases", *CASES, "--out", str(folder / "m.json"))
    found = {f"{name}, ms": 1e3 * each[0] for name, each in read["steps"].items() if "sockets" not in name}
    for size, row in read["messages"].items():
        found |= {f"{int(size) >> 10} KiB, {name}, µs": 1e6 * one for name, one in row.items() if "memory" in name}
    return found


def pipelines(run: Run, folder: Path) -> dict[str, float]:
    """Milliseconds of a step under 1F1B, of each kind of pipeline."""
    read = run("pipelines.py", "--size", "m", "--rounds", "9", "--result", str(folder / "p.json"), ranks=2)
    return {f"1F1B, {name}, ms": 1e3 * statistics.median(each) for name, each in read["seconds"].items()}


def step(run: Run, folder: Path, precisions: Sequence[str]) -> dict[str, float]:
    """Milliseconds of a step and of recognition of one process, in each precision."""
    words = ["--precisions", *precisions, "--out", str(folder / "s.json")]
    read = run("step.py", "--size", "m", "--rounds", "5", *words)
    found = {}
    for name, (train, recognise) in read["samples"].items():
        found[f"one process, {name}, step, ms"] = 1e3 * statistics.median(train)
        found[f"one process, {name}, recognition, ms"] = 1e3 * statistics.median(recognise)
    return found


SCRIPTS: dict[str, Callable[..., dict[str, float]]] = {
    "messages": messages,
    "pipelines": pipelines,
    "step": step,
}


def measured(tree: Path, python: str, scripts: Sequence[str], precisions: Sequence[str]) -> dict[str, float]:
    """What the scripts of one environment measure, in turn."""
    found: dict[str, float] = {}
    calls: dict[str, Callable[..., dict[str, float]]] = {**SCRIPTS, "step": partial(step, precisions=precisions)}
    with tempfile.TemporaryDirectory() as folder:

        def run(script: str, *words: str, ranks: int = 0) -> Any:
            start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks else []
            threads = {"OMP_NUM_THREADS": "1"} if ranks else {}
            subprocess.run(
                [python, *start, f"benchmarks/{script}", *words],
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree), **threads},
                check=True,
                capture_output=True,
            )
            return json.loads(Path(words[-1]).read_text())

        for name in scripts:
            found |= calls[name](run, Path(folder))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs=2, metavar="TREE:PYTHON")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scripts", nargs="+", choices=SCRIPTS, default=list(SCRIPTS))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rounds: list[list[dict[str, float]]] = []
    for _ in range(given.rounds):
        rounds.append([])
        for one in given.environments:
            tree, _, python = one.partition(":")
            rounds[-1].append(measured(Path(tree).resolve(), python, given.scripts, given.precisions))
    rows = []
    for name in rounds[0][0]:
        pairs = [(first[name], second[name]) for first, second in rounds]
        ratios = sorted(second / first for first, second in pairs)
        middle = [statistics.median(each) for each in zip(*pairs)]
        rows.append(
            [
                name,
                *(f"{one:.0f}" for one in middle),
                f"{statistics.median(ratios):.2f}",
                f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
            ]
        )
    print(table(["what", "first", "second", "second / first", "over rounds"], rows))
    if given.out:
        write_text(given.out, json.dumps({"rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
