"""Peak memory of a step, of the fullest rank, under each strategy.

``python benchmarks/memory.py [--size xl] [--batch 64] [--frames 192] [--microbatches 16] [--cases NAME…]``

Each case runs in fresh processes. What counts is a process' own (``system.process.uss``: no pages of files), above what
it is with all imported and the group joined, before the model. A first step of one short utterance a micro-batch makes
the optimizer's moments, the second is of the whole batch. The peak is the operating system's (``VmHWM``, set back
before each phase), so it is also known which phase of which rank it belongs to. Cases that ran before with the same
model and batch are kept in the record.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path
from typing import Any

from resident import CLASSES, GIB, ROWS, balanced, batch, clock, fullest, launch, needs, peak, table, trim
from resident import write_record as write

from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.cost.partition import block_costs, partition
from parallel_ser.parallel.engine.state import local
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.schedule.registry import schedule_of
from parallel_ser.parallel.settings import StrategySettings, microbatch
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.system.environment import environment
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.system.process import uss
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

RANKS = 4
RESULT = Path(__file__).parent / "results" / "memory.json"


def cases(parts: int, memory_cut: list[int], checkpoint_cut: list[int], costs: list[float]) -> dict[str, Any]:
    """Strategy settings by the name of the case; pipelines are cut by arithmetic, where it is not said otherwise."""
    pipeline = {"name": "pipeline", "microbatches": parts, "stages": list(partition(costs, range(RANKS)))}
    every: dict[str, dict[str, Any]] = {
        "single, whole batch": {"name": "single", "microbatches": 1},
        "single": {"name": "single", "microbatches": parts},
        "pipeline 1f1b": {**pipeline, "schedule": "1f1b"},
        "pipeline 1f1b, cut by memory": {**pipeline, "schedule": "1f1b", "stages": memory_cut},
        "pipeline 1f1b, checkpointing": {**pipeline, "schedule": "1f1b", "checkpointing": "block"},
        "pipeline 1f1b, checkpointing, cut by memory": {
            **pipeline,
            "schedule": "1f1b",
            "checkpointing": "block",
            "stages": checkpoint_cut,
        },
        "pipeline zbv": {
            **pipeline,
            "schedule": "zbv",
            "stages": list(partition(costs, schedule_of("zbv").placement(RANKS))),
        },
        "tensor_split time": {"name": "tensor_split", "axis": "time", "microbatches": parts},
        "tensor_split channel": {"name": "tensor_split", "axis": "channel", "microbatches": parts},
        "fsdp": {"name": "fsdp", "microbatches": parts // RANKS},  # of a rank's share: as many utterances in each
        "ddp": {"name": "ddp", "microbatches": parts // RANKS},
        "deepspeed": {**pipeline, "name": "deepspeed"},
    }
    every["tensor_split time, whole batch"] = {**every["tensor_split time"], "microbatches": 1}
    every["tensor_split channel, whole batch"] = {**every["tensor_split channel"], "microbatches": 1}
    return every


def rank_main(case: dict[str, Any], out: Path) -> None:
    """What one rank runs."""
    settings = StrategySettings.model_validate(case["strategy"])
    if settings.name == "deepspeed":
        import deepspeed  # noqa: F401 its import belongs to the baseline
    for one in strategies().values():  # imports all, so that the baseline is the same for all
        one.compose(StrategySettings(name=one.name))
    leave = HardExit()
    with process_context("cpu", threads=1, timeout=900) as ranks:
        baseline = uss()
        peaks: dict[str, int] = {}
        with peak(peaks, "build"):
            chain = build(ModelSettings(size=case["size"]), ROWS, CLASSES, seed=0)
        strategy = Strategy(settings, clip_norm=10.0)
        shape = (microbatch(settings, ranks.size, case["batch"]), 1, ROWS, case["frames"])
        with peak(peaks, "setup"):
            strategy.setup(chain, cross_entropy, lambda p: adamw(p, TrainSettings()), ranks, shape)
            del chain
            gc.collect()
        settled = uss()
        if case.get("trim"):
            trim()
        trimmed = uss()
        stage = ["first"]

        def watch(name: str) -> None:
            inner = getattr(strategy, name)

            def watched(*given: Any) -> Any:
                with peak(peaks, f"{stage[0]} {name}"):
                    return inner(*given)

            setattr(strategy, name, watched)

        for name in ("gradients", "reduce", "update"):
            watch(name)
        losses, seconds = [], []
        small = batch(case["microbatches"], 32)
        for number, given in enumerate([small] + [batch(case["batch"], case["frames"])] * case["steps"]):
            stage[0] = "step" if number else "first"
            began = clock()
            losses.append(strategy.train_step(*given))
            seconds.append(clock() - began)
        record = {
            "rank": ranks.rank,
            "baseline": baseline,
            "peaks": {name: value - baseline for name, value in peaks.items()},
            "settled": settled - baseline,
            "trimmed": trimmed - baseline,
            "after": uss() - baseline,
            "parameters": sum(local(p).numel() for p in strategy.parameters.values()),
            "whole": sum(p.numel() for p in strategy.parameters.values()),
            "losses": losses,
            "seconds": seconds,
        }
        write(out / f"{ranks.rank}.json", record)
    leave(0)


def summary(name: str, ranks: list[dict[str, Any]], reference: float | None) -> list[str]:
    """A row of the table, of the rank whose peak is the highest."""
    full = max(ranks, key=lambda one: max(one["peaks"].values()))
    phase, most = max(full["peaks"].items(), key=lambda item: item[1])
    step = max(value for key, value in full["peaks"].items() if key.startswith("step"))
    state = full["parameters"] * 16
    return [
        name,
        f"{most / GIB:.2f}",
        f"{most / reference:.3f}" if reference else "–",
        f"{full['rank']}, {phase}",
        f"{full['peaks']['build'] / GIB:.2f}, {full['peaks']['setup'] / GIB:.2f}, {step / GIB:.2f}",
        f"{state / GIB:.2f} ({state / most:.0%})",
        ", ".join(f"{max(one['peaks'].values()) / GIB:.2f}" for one in ranks),
        f"{ranks[0]['seconds'][-1]:.0f}",
        f"{ranks[0]['losses'][-1]:.5f}",
    ]


HEADS = [
    "case",
    "peak of the fullest rank, GiB",
    "of `single, whole batch`",
    "rank, phase",
    "its build, set-up, step, GiB",
    "its weights + gradients + moments, GiB (share)",
    "peak of each rank, GiB",
    "seconds of the step",
    "loss",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="xl")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--frames", type=int, default=192)
    parser.add_argument("--microbatches", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1, help="of the whole batch, behind the first small one")
    parser.add_argument("--cases", nargs="*", default=[], help="by default all")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a case")
    parser.add_argument("--trim", action="store_true", help="give back freed memory behind the set-up")
    parser.add_argument(
        "--environment", nargs="*", default=[], metavar="NAME=VALUE", help="of the ranks, such as malloc's"
    )
    parser.add_argument("--label", default="", help="behind the names of the cases")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--rank", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        rank_main(args.rank, args.out)
    chain = build(ModelSettings(size=args.size), ROWS, CLASSES, seed=0)
    shape = (args.batch // args.microbatches, 1, ROWS, args.frames)
    every, costs = needs(chain, shape), block_costs(chain, shape)
    cuts = [balanced(every, RANKS, args.microbatches, again) for again in (False, True)]
    del chain
    for given, again in [(partition(costs, range(RANKS)), False), *zip(cuts, (False, True))]:
        told = ", ".join(f"{one / GIB:.2f}" for one in fullest(every, given, args.microbatches, again))
        print(f"{list(given)}{', checkpointing' if again else ''}: reckoned {told} GiB", file=sys.stderr)
    what = {key: getattr(args, key) for key in ("size", "batch", "frames", "microbatches", "steps")}
    old = json.loads(args.result.read_text()) if args.result.exists() else {}
    record = {
        "machine": environment(RANKS, 1),
        "what": what,
        "cuts": cuts,
        "blocks": [vars(one) for one in every],
        "cases": old.get("cases", {}) if old.get("what") == what else {},
    }
    known = cases(args.microbatches, list(cuts[0]), list(cuts[1]), costs)
    environ = dict(one.split("=", 1) for one in args.environment)
    for name in args.cases or known:
        case = {"strategy": known[name], **what, "trim": args.trim, "environment": environ}
        ranks, said = launch(__file__, case, 1 if name.startswith("single") else RANKS, args.timeout)
        if said:
            print(f"{name}: {said[-3000:]}", file=sys.stderr)
            continue
        label = f"{name}, {args.label}" if args.label else name
        record["cases"][label] = {"case": case, "ranks": ranks}
        write(args.result, record)
        print(" | ".join(summary(label, ranks, None)), file=sys.stderr, flush=True)
    whole = record["cases"].get("single, whole batch")
    reference = max(whole["ranks"][0]["peaks"].values()) if whole else None
    print(table(HEADS, [summary(name, one["ranks"], reference) for name, one in record["cases"].items()]))


if __name__ == "__main__":
    main()
