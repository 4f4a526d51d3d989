"""A cut that follows the run: two ranks on cores of their own, of which the second is slowed halfway.

    python benchmarks/rebalance.py

``--busy`` processes are bound to the second rank's core from the start of an epoch on, so that the rank shares it with
them. Steps per second before, with the slow core and the old cut, with the last cut that ``strategy.rebalance=true``
moved to, and with each cut by hand beside the busy processes, of which the best is what could be had. Needs two cores
with nothing else on them. Steps are medians; the record goes to ``results/rebalance.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from resident import table

from parallel_ser.parallel.comm.pinning import cores_of, memory_nodes
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.environment import processor
from parallel_ser.system.files import write_text
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.main import main as train

RANKS, WARM = 2, 2
BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile os.getppid() == int(sys.argv[2]): pass"


def rank(given: dict[str, Any], out: Path, arguments: list[str]) -> None:
    """Train, and keep of each step how long it took and where the stages were cut; the first rank slows the second."""
    leave = HardExit()
    (core,) = cores_of(RANKS - 1, RANKS, 1, memory_nodes())
    steps: list[dict[str, Any]] = []
    busy: list[subprocess.Popen[bytes]] = []
    plain = Strategy.train_step
    first = os.environ["RANK"] == "0"

    def step(self: Strategy, *batch: Any) -> float:
        if first and len(steps) == given["slow"]:
            command = [sys.executable, "-c", BUSY, str(core), str(os.getpid())]
            busy.extend(subprocess.Popen(command) for _ in range(given["busy"]))
        began = time.perf_counter()
        loss = plain(self, *batch)
        steps.append({"seconds": time.perf_counter() - began, "cuts": list(self.stages.cuts)})
        return loss

    Strategy.train_step = step  # type: ignore[assignment, method-assign]
    status = train(arguments)
    for one in busy:
        one.kill()
    if first:
        write_text(out, json.dumps(steps))
    leave(status)


def run(given: argparse.Namespace, epochs: int, slow: int, *more: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The steps of a run whose second core is slow from a step on, and what was told of moves."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "steps.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={RANKS}", __file__]
        command += ["--rank", json.dumps({"slow": slow, "busy": given.busy}), "--out", str(out)]
        command += [
            f"train.epochs={epochs}",
            f"train.batch={given.batch}",
            f"model.options.layers={given.layers}",
            f"run.folder={folder}/run",
            *FIXED,
            *more,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            sys.exit(done.stderr[-2000:])
        return json.loads(out.read_text()), re.findall("moved .*", done.stdout)


FIXED = [
    "corpus.synthetic.speakers=6",
    "corpus.synthetic.sentences=2",
    "corpus.synthetic.takes=2",
    "split.folds=6",
    "split.only=[0]",
    "model.name=conformer",
    "strategy.microbatches=8",
    "train.threads=1",
    "train.bind=true",
    "train.device=cpu",
    "train.warp=0",
    "train.crop=1.28",
]


def rate(steps: list[dict[str, Any]]) -> float:
    """Steps per second."""
    return 1 / statistics.median(one["seconds"] for one in steps[WARM:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--busy", type=int, default=2, help="processes that share the second rank's core")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--around", type=int, default=1, help="cuts by hand on both sides of the one that was moved to")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/rebalance.json")
    given, settings = parser.parse_known_args()
    if given.rank:
        rank(json.loads(given.rank), given.out, settings)
    if usable_cores() < RANKS:
        sys.exit(f"it needs {RANKS} cores of their own, and here is {usable_cores()}")
    epoch = len(run(given, 1, 10**9)[0])  # also fills the caches of features and profiles
    slow = epoch * (given.epochs // 3)
    steps, told = run(given, given.epochs, slow, "strategy.rebalance=true")
    first, last = steps[0]["cuts"], steps[-1]["cuts"]
    cuts_before = steps[slow - 1]["cuts"]
    slowed = [one for one in steps[slow:] if one["cuts"] == cuts_before]
    blocks = given.layers + 6
    hand = {}
    for cut in range(max(1, last[0] - given.around), min(blocks, last[0] + given.around + 1)):
        hand[cut] = rate(run(given, 1, 0, f"strategy.stages=[{cut}]")[0])
    best = max(hand, key=lambda cut: hand[cut])
    rows = [
        ("before", cuts_before, rate([one for one in steps[:slow] if one["cuts"] == cuts_before])),
        ("second core slowed, the same cut", cuts_before, rate(slowed)),
        ("after the moves", last, rate([one for one in steps[slow:] if one["cuts"] == last])),
        ("best cut by hand", [best], hand[best]),
    ]
    cells = [[name, f"{cut[0]} of {blocks}", f"{speed:.2f}", f"{speed / rows[0][2]:.2f}"] for name, cut, speed in rows]
    print(table(["", "cut", "steps/s", "of before"], cells))
    print("\n" + "\n".join(told))
    record = {
        "machine": {"processor": processor(), "cores": usable_cores(), "torch": torch.__version__},
        "given": {key: value for key, value in vars(given).items() if key not in ("rank", "out")},
        "begun": first,
        "slow": slow,
        "steps": steps,
        "told": told,
        "hand": hand,
        "rows": rows,
    }
    write_text(given.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
