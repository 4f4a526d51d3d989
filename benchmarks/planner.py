"""The planner against the clock: predicted and measured step time and memory of many strategies, interleaved.

    python benchmarks/planner.py --ranks 2 --size s --batch 32 --frames 128 --rounds 3

Each measurement is a fresh start of the processes: 2 steps to warm up, then the median of 6. Rounds go through all
strategies in turn (A B C A B C), so that drift hits all alike; the figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from resident import prediction, table

from parallel_ser.models.batch import random_batch
from parallel_ser.models.cnn import build
from parallel_ser.models.plans import GROUPS
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.comm.pinning import pin_cores
from parallel_ser.parallel.cost.hardware_model import probe
from parallel_ser.parallel.cost.model_profile import ModelProfile
from parallel_ser.parallel.cost.planner import plan
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings, microbatch
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.environment import processor
from parallel_ser.system.files import write_text
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.system.process import peak_uss, uss
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

ROWS, CLASSES, WARM, STEPS = 64, 8, 2, 6


def rank(given: dict[str, Any]) -> None:
    """One process of a measurement; the first prints the seconds of its steps and all ranks' peaks."""
    torch.manual_seed(0)
    for one in strategies().values():  # imports all, so that the baseline is the same for all
        one.compose(StrategySettings(name=one.name))
    if given["strategy"]["name"] == "deepspeed":
        import deepspeed  # noqa: F401 its import belongs to the baseline
    leave = HardExit()
    with process_context("cpu", given["threads"], timeout=120, share=given["share"]) as ranks:
        if given["bind"]:
            pin_cores(given["threads"])
        baseline = uss()
        settings = StrategySettings.model_validate(given["strategy"])
        chain = build(ModelSettings(size=given["size"]), ROWS, CLASSES, 0)
        strategy = Strategy(settings, clip_norm=1.0)
        batch, frames = given["batch"], given["frames"]
        shape = (microbatch(settings, ranks.size, batch), 1, ROWS, frames)
        strategy.setup(chain, cross_entropy, lambda p: adamw(p, TrainSettings()), ranks, shape)
        del chain
        inputs, targets = random_batch((batch, 1, ROWS, frames), CLASSES)
        times = []
        for _ in range(WARM + STEPS):
            began = time.perf_counter()
            strategy.train_step(inputs, targets)
            times.append(time.perf_counter() - began)
        peaks = torch.zeros(ranks.size)
        peaks[ranks.rank] = float(peak_uss() - baseline)
        if ranks.size > 1:
            torch.distributed.all_reduce(peaks)
        if ranks.first:
            print("RESULT " + json.dumps({"steps": times[WARM:], "peaks": peaks.tolist()}), flush=True)
    leave(0)


def measure(
    settings: StrategySettings,
    ranks: int,
    threads: int,
    given: argparse.Namespace,
    share: bool = True,
    bind: bool = False,
) -> dict[str, Any] | None:
    """A fresh start of the processes, which share memory or not and keep to cores of their own or not; None: failed."""
    what = {"strategy": settings.model_dump(mode="json"), "threads": threads, "share": share, "bind": bind}
    what |= {"size": given.size, "batch": given.batch, "frames": given.frames}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", __file__]
    surroundings = {**os.environ, "OMP_NUM_THREADS": str(threads), "DS_ACCELERATOR": "cpu"}
    try:
        done = subprocess.run(
            [*command, "--rank", json.dumps(what)],
            capture_output=True,
            text=True,
            timeout=300,
            env=surroundings,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    found: dict[str, Any] | None = json.loads(lines[-1].removeprefix("RESULT ")) if lines else None
    if found is None:
        print(done.stderr[-1500:], file=sys.stderr)
    return found


def chosen(found: list[Any], parts: int) -> list[Any]:
    """The plan's first choice, and of each strategy, schedule and axis the prediction with ``parts`` micro-batches."""
    kept = [found[0]]
    for one in found:
        settings = one.settings
        plain = settings.microbatches == parts and settings.checkpointing == "none" and settings.data_parallel == 1
        if plain and settings.tensor_parallel == 1 and not one.refusal and one is not found[0]:
            kept.append(one)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--size", default="s")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--parts", type=int, default=8, help="micro-batches of the strategies that are measured")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/planner.json")
    given = parser.parse_args()
    if given.rank:
        rank(json.loads(given.rank))
    threads = max(1, usable_cores() // given.ranks)
    torch.set_num_threads(threads)
    facts = ModelProfile(build(ModelSettings(size=given.size), ROWS, CLASSES, 0), (given.batch, 1, ROWS, given.frames))
    base = StrategySettings()
    candidates = chosen(plan(given.ranks, facts, probe(given.ranks, threads), GROUPS, base), given.parts)
    results: dict[str, list[dict[str, Any]]] = {one.name: [] for one in candidates}
    for turn in range(given.rounds):
        for one in candidates:
            measured = measure(one.settings, given.ranks, threads, given)
            if measured is not None:
                results[one.name].append(measured)
        print(f"round {turn + 1} of {given.rounds} done", file=sys.stderr)
    rows, errors, memory_errors = [], [], []
    for one in candidates:
        if not results[one.name]:
            continue
        step = statistics.median(statistics.median(run["steps"]) for run in results[one.name])
        peak = statistics.median(max(run["peaks"]) for run in results[one.name])
        errors.append(abs(one.step / step - 1))
        memory_errors.append(abs(one.memory / peak - 1))
        rows.append({"name": one.name, "predicted": one.step, "measured": step, "memory": one.memory, "peak": peak})
    fastest = min(row["measured"] for row in rows)
    heads = ["strategy", "predicted ms", "measured ms", "off by", "predicted MiB", "measured MiB"]
    sizes = ([f"{row[kind] / 2**20:.0f}" for kind in ("memory", "peak")] for row in rows)
    print(table(heads, [[row["name"], *prediction(row), *size] for row, size in zip(rows, sizes)]))
    off, off_memory = statistics.median(errors), statistics.median(memory_errors)
    print(f"\nmedian error of the step time {off:.0%}, of memory {off_memory:.0%};")
    print(f"the first choice takes {rows[0]['measured'] / fastest:.2f} of the fastest measured step.")
    record = {
        "machine": {"processor": processor(), "cores": usable_cores(), "torch": torch.__version__},
        "given": {key: str(value) for key, value in vars(given).items() if key not in ("rank", "out")},
        "rows": rows,
        "runs": results,
    }
    write_text(given.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
