"""The same benchmarks under two environments in turn, such as two releases of torch: step times side by side.

    python benchmarks/two_environments.py TREE:PYTHON TREE:PYTHON [--rounds 2] [--out FILE]

Each TREE is a checkout whose packages PYTHON has. A round runs ``messages.py`` (the CNN m under three strategies),
``pipelines.py`` and ``step.py`` of each in turn. The machine must be idle. A ratio is the second's time over the
first's, of one round; the table has medians over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from resident import table

from parallel_ser.files import write_text

CASES = ["tensor_split time", "tensor_split channel", "pipeline 1f1b ×8"]


def measured(tree: Path, python: str, folder: Path) -> dict[str, float]:
    """Milliseconds of each step, and microseconds of messages, under one environment."""
    surroundings = {**os.environ, "PYTHONPATH": str(tree)}

    def run(script: str, out: Path, *words: str, ranks: int = 0) -> dict[str, object]:
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks else []
        command = [python, *start, f"benchmarks/{script}", *words, "--result" if ranks else "--out", str(out)]
        threads = {"OMP_NUM_THREADS": "1"} if ranks else {}
        subprocess.run(command, cwd=tree, env={**surroundings, **threads}, check=True, capture_output=True)
        found: dict[str, object] = json.loads(out.read_text())
        return found

    messages = run("messages.py", folder / "m.json", "--size", "m", "--rounds", "1", "--cases", *CASES)
    pipelines = run("pipelines.py", folder / "p.json", "--size", "m", "--rounds", "9", ranks=2)
    steps = run("step.py", folder / "s.json", "--size", "m", "--rounds", "5")
    found = {f"{name}, ms": 1e3 * each[0] for name, each in messages["steps"].items() if "sockets" not in name}  # type: ignore[attr-defined]
    for size, row in messages["messages"].items():  # type: ignore[attr-defined]
        found |= {f"{int(size) >> 10} KiB, {name}, µs": 1e6 * one for name, one in row.items() if "memory" in name}
    for name, each in pipelines["seconds"].items():  # type: ignore[attr-defined]
        found[f"1F1B, {name}, ms"] = 1e3 * statistics.median(each)
    for name, (train, recognise) in steps["samples"].items():  # type: ignore[attr-defined]
        found[f"one process, {name}, step, ms"] = 1e3 * statistics.median(train)
        found[f"one process, {name}, recognition, ms"] = 1e3 * statistics.median(recognise)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs=2, metavar="TREE:PYTHON")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rounds: list[list[dict[str, float]]] = []
    for _ in range(given.rounds):
        rounds.append([])
        for one in given.environments:
            tree, _, python = one.partition(":")
            with tempfile.TemporaryDirectory() as folder:
                rounds[-1].append(measured(Path(tree).resolve(), python, Path(folder)))
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
