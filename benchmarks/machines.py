"""Several machines on one: network namespaces joined by links of a given rate, and every strategy across them.

    python benchmarks/machines.py            # 0.1, 1 and 10 Gbit/s; two machines of one and of two ranks, four of one
    python benchmarks/machines.py --quick    # 1 Gbit/s, two strategies, a small network

Each machine is a network namespace with a host name, processes and shared memory of its own, so that nothing is shared
but the link: a veth pair to a bridge, of which ``tc … tbf`` holds what each machine sends to the rate. It needs root,
``ip``, ``tc`` and ``unshare``; without them it says so and ends.

For every link one start of the processes steps each strategy, a pipeline with the stages that the planner chose: a step
to warm up, then the median of ``--steps``. Beside it stands what the planner predicts for that link: this machine
measured once with messages through sockets, of which no more pass in a second than the link lets through
(``HardwareModel.between``; within a machine, through memory).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from resident import prediction, table

from parallel_ser.models.batch import random_batch
from parallel_ser.models.cnn import build
from parallel_ser.models.plans import GROUPS
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.cost.hardware_model import HardwareModel, probe
from parallel_ser.parallel.cost.model_profile import ModelProfile
from parallel_ser.parallel.cost.planner import Prediction, predict
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings, microbatch
from parallel_ser.system.cores import usable_cores
from parallel_ser.system.environment import processor
from parallel_ser.system.files import write_text
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

ROWS, CLASSES, WARM, PORT = 64, 8, 1, 29571
SUBNET = "10.77.33"
ONE: dict[str, dict[str, Any]] = {
    "ddp": {"name": "ddp"},
    "fsdp": {"name": "fsdp"},
    "pipeline 1f1b": {"name": "pipeline", "schedule": "1f1b", "microbatches": 8},
    "tensor_split channel": {"name": "tensor_split", "axis": "channel"},
    "tensor_split time": {"name": "tensor_split", "axis": "time"},
}
"""Across machines of a rank each."""
TWO: dict[str, dict[str, Any]] = {
    "ddp": {"name": "ddp"},
    "pipeline 1f1b": {"name": "pipeline", "schedule": "1f1b", "microbatches": 8},
    "pipeline × data 2": {"name": "pipeline", "schedule": "1f1b", "microbatches": 4, "data_parallel": 2},
    "pipeline × channel 2": {
        "name": "pipeline",
        "schedule": "1f1b",
        "microbatches": 4,
        "tensor_parallel": 2,
        "axis": "channel",
    },
}
"""Across two machines of two ranks each: copies on both machines, or stages on both."""


@dataclass(frozen=True)
class Given:
    """What is trained how often, the same for all.

    Attributes:
        size: of the CNN.
        batch: utterances.
        frames: of each.
        steps: that are timed.
    """

    size: str
    batch: int
    frames: int
    steps: int


def rank(cases: dict[str, dict[str, Any]], given: Given) -> None:
    """One process; the first prints the seconds of every case's steps."""
    leave = HardExit()
    found: dict[str, list[float]] = {}
    with process_context("cpu", 1, timeout=240) as ranks:
        for name, case in cases.items():
            settings = settings_of(case)
            chain = build(ModelSettings(size=given.size), ROWS, CLASSES, 0)
            strategy = Strategy(settings, clip_norm=1.0)
            shape = (microbatch(settings, ranks.size, given.batch), 1, ROWS, given.frames)
            strategy.setup(chain, cross_entropy, lambda p: adamw(p, TrainSettings()), ranks, shape)
            inputs, targets = random_batch((given.batch, 1, ROWS, given.frames), CLASSES)
            times = []
            for _ in range(WARM + given.steps):
                began = time.perf_counter()
                strategy.train_step(inputs, targets)
                times.append(time.perf_counter() - began)
            found[name] = times[WARM:]
            del strategy, chain
        if ranks.first:
            print("RESULT " + json.dumps(found), flush=True)
    leave(0)


def settings_of(case: dict[str, Any]) -> StrategySettings:
    """One micro-batch where nothing else is said; cut by arithmetic, as the same on every machine."""
    return StrategySettings.model_validate({"microbatches": 1, **case})


def refusal() -> str:
    """Why no machines can be laid here; empty where they can."""
    missing = [name for name in ("ip", "tc", "unshare") if not shutil.which(name)]
    if missing:
        return f"it needs {' and '.join(missing)}, which this machine has not (iproute2, util-linux)"
    trial = f"pser{os.getpid()}t"
    done = subprocess.run(["ip", "netns", "add", trial], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces cannot be made here ({done.stderr.strip() or 'ip netns add failed'}): it needs root"
    subprocess.run(["ip", "netns", "del", trial], check=False)
    return ""


@contextmanager
def laid(count: int, rate: float) -> Iterator[list[str]]:
    """So many machines, each with a link of ``rate`` bit/s to a bridge; gives the names of their namespaces."""

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"Skipped: no machines can be laid here: ip {' '.join(words)}: {done.stderr.strip()}.")

    def inside(space: str, *words: str) -> None:
        ip("netns", "exec", space, *words)

    hub = f"pser{os.getpid()}h"
    spaces = [f"pser{os.getpid()}m{number}" for number in range(count)]
    burst = max(65536, round(rate / 8 * 1e-3))
    with ExitStack() as made:
        for space in (hub, *spaces):
            ip("netns", "add", space)
            made.callback(subprocess.run, ["ip", "netns", "del", space], check=False)
            inside(space, "ip", "link", "set", "lo", "up")
        inside(hub, "ip", "link", "add", "bridge", "type", "bridge")
        inside(hub, "ip", "link", "set", "bridge", "up")
        for number, space in enumerate(spaces):
            ip("link", "add", "wire", "netns", space, "type", "veth", "peer", "name", f"port{number}", "netns", hub)
            inside(hub, "ip", "link", "set", f"port{number}", "master", "bridge")
            inside(hub, "ip", "link", "set", f"port{number}", "up")
            inside(space, "ip", "addr", "add", f"{SUBNET}.{number + 1}/24", "dev", "wire")
            inside(space, "ip", "link", "set", "wire", "up")
            limit = ("rate", f"{rate:.0f}bit", "burst", f"{burst}", "latency", "50ms")
            inside(space, "tc", "qdisc", "add", "dev", "wire", "root", "tbf", *limit)
        yield spaces


def run(spaces: Sequence[str], per_machine: int, cases: dict[str, Any], given: Given) -> dict[str, list[float]]:
    """The seconds of every case's steps on the machines."""
    what = json.dumps({"cases": cases, "given": vars(given)})
    inner = 'mount -t tmpfs tmpfs /dev/shm; hostname node$0; exec "$@"'
    processes = []
    for number, space in enumerate(spaces):
        command = ["ip", "netns", "exec", space, "unshare", "-m", "-u", "-p", "-f", "--mount-proc", "--kill-child"]
        command += ["sh", "-c", inner, str(number), sys.executable, "-m", "torch.distributed.run"]
        command += [f"--nnodes={len(spaces)}", f"--nproc_per_node={per_machine}", f"--node_rank={number}"]
        command += [f"--master_addr={SUBNET}.1", f"--master_port={PORT}", str(Path(__file__).resolve())]
        surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "wire"}
        processes.append(
            subprocess.Popen(
                [*command, "--rank", what],
                env=surroundings,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [line for out, _ in said for line in out.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit("\n".join(errors[-1500:] for _, errors in said))
    found: dict[str, list[float]] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def machine_of(ranks: int, per_machine: int, rate: float) -> HardwareModel:
    """This machine as several with such a link: within one through memory, between them through sockets."""
    within, outside = probe(ranks, 1, share=True), probe(ranks, 1, share=False)
    whole, link = outside if per_machine == 1 else within, outside.within.narrowed(rate / 8)
    return replace(whole, local=per_machine, between=link, overheads=outside.overheads)


def predictions(
    cases: dict[str, Any], facts: ModelProfile, ranks: int, machine: HardwareModel
) -> dict[str, Prediction]:
    """What the planner says of each case."""
    return {name: predict(settings_of(case), ranks, facts, machine, GROUPS) for name, case in cases.items()}


def layout_of(row: dict[str, Any]) -> tuple[int, int]:
    """Machines, and ranks of each, that a row is of."""
    return row["machines"], row["per_machine"]


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Measured and predicted steps by link, a panel for each layout and a colour for each strategy."""
    from matplotlib.ticker import NullFormatter

    from parallel_ser.report.canvas import BLUE, GREY, ORANGE, SKY, new_figure, plain, save

    layouts = list(dict.fromkeys(layout_of(row) for row in rows))
    every = list(dict.fromkeys(row["name"] for row in rows))
    colours = dict(zip(every, [BLUE, "#CC79A7", ORANGE, GREY, "#009E73", SKY, "#E69F00"], strict=False))
    figure = new_figure(10, 3.6 * len(layouts))
    for panel, layout in enumerate(layouts):
        axes = figure.add_subplot(len(layouts), 1, panel + 1)
        own = [row for row in rows if layout_of(row) == layout]
        rates = sorted({row["gbit"] for row in own})
        names = [name for name in every if any(row["name"] == name for row in own)]
        for place, name in enumerate(names):
            values = [row for row in own if row["name"] == name]
            at = [rates.index(row["gbit"]) + (place - (len(names) - 1) / 2) * 0.8 / len(names) for row in values]
            measured, predicted = ([1e3 * row[kind] for row in values] for kind in ("measured", "predicted"))
            axes.vlines(at, measured, predicted, color=colours[name], linewidth=1)
            axes.plot(at, measured, "o", color=colours[name], markersize=7, label=name)
            axes.plot(at, predicted, "_", color=colours[name], markersize=14, markeredgewidth=2)
        axes.plot([], [], "ko", label="measured")
        axes.plot([], [], "k_", markersize=14, label="predicted")
        axes.set_yscale("log")
        ticks = [100, 200, 500, 1000, 2000, 5000]
        axes.set_yticks(ticks, [f"{one:,}" for one in ticks])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(range(len(rates)), [f"{rate:g} Gbit/s" for rate in rates])
        axes.set_ylabel("ms a step")
        axes.set_title("{} machines of {}".format(*layout) + " rank" + "s" * (layout[1] > 1), loc="left", fontsize=10)
        axes.legend(fontsize=8, frameon=False, ncols=2)
        plain(axes)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    parser.add_argument("--gbit", type=float, nargs="+", default=[0.1, 1.0, 10.0], help="rates of the links")
    parser.add_argument(
        "--layouts", nargs="+", default=["2x1", "2x2", "4x1"], choices=["2x1", "2x2", "4x1"], help="machines x ranks"
    )
    parser.add_argument("--size", default="m", help="of the CNN")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one link, two strategies, a small network; no record")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/machines.json")
    parser.add_argument("--picture", type=Path, default=Path(__file__).parents[1] / "docs/images/machines.png")
    asked = parser.parse_args()
    if asked.rank:
        what = json.loads(asked.rank)
        rank(what["cases"], Given(**what["given"]))
    if said := refusal():
        print(f"Skipped: {said}.")
        return
    given = Given(asked.size, asked.batch, asked.frames, asked.steps)
    rates, every = asked.gbit, {1: ONE, 2: TWO}
    layouts = [tuple(map(int, one.split("x"))) for one in asked.layouts]
    if asked.quick:
        given, rates, layouts = Given("s", 8, 64, 3), [1.0], [(2, 1)]
        every = {1: {name: ONE[name] for name in ("ddp", "pipeline 1f1b")}}
    torch.set_num_threads(1)
    chain = build(ModelSettings(size=given.size), ROWS, CLASSES, 0)
    facts = ModelProfile(chain, (given.batch, 1, ROWS, given.frames))
    rows: list[dict[str, Any]] = []
    for machines, per_machine in layouts:
        ranks = machines * per_machine
        for gbit in rates:
            expected = predictions(every[per_machine], facts, ranks, machine_of(ranks, per_machine, gbit * 1e9))
            planned = {name: case | {"stages": expected[name].cuts} for name, case in every[per_machine].items()}
            with laid(machines, gbit * 1e9) as spaces:
                measured = run(spaces, per_machine, planned, given)
            for name, times in measured.items():
                about: dict[str, Any] = {"machines": machines, "per_machine": per_machine, "gbit": gbit, "name": name}
                about |= {"refusal": expected[name].refusal, "stages": expected[name].cuts}
                about |= {"measured": statistics.median(times), "predicted": expected[name].step, "steps": times}
                rows.append(about)
            print(f"{gbit:g} Gbit/s, {machines} machines of {per_machine}: done", file=sys.stderr)
    told(rows)
    if not asked.quick:
        record = {
            "machine": {"processor": processor(), "cores": usable_cores(), "torch": torch.__version__},
            "given": vars(given),
            "rows": rows,
        }
        write_text(asked.out, json.dumps(record, indent=1) + "\n")
        picture(rows, asked.picture)


def told(rows: list[dict[str, Any]]) -> None:
    """The table, the error and how often the winner was named right."""
    heads = ["machines × ranks", "link", "strategy", "predicted ms", "measured ms", "off by"]
    cells = [
        ["{} × {}".format(*layout_of(row)), f"{row['gbit']:g} Gbit/s", row["name"], *prediction(row)] for row in rows
    ]
    print(table(heads, cells))
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    groups = {(*layout_of(row), row["gbit"]) for row in rows}
    right = 0
    print()
    for group in sorted(groups):
        own = [row for row in rows if (*layout_of(row), row["gbit"]) == group]
        first, fastest = min(own, key=lambda row: row["predicted"]), min(own, key=lambda row: row["measured"])
        right += first is fastest
        lost = first["measured"] / fastest["measured"] - 1
        print(
            f"{group[0]} × {group[1]}, {group[2]:g} Gbit/s: {fastest['name']} won, {first['name']} was predicted"
            + (f", which took {lost:.0%} longer." if lost else ".")
        )
    off = statistics.median(errors)
    print(f"Median error of the step {off:.0%}; the winner was named right in {right} of {len(groups)}.")


if __name__ == "__main__":
    main()
