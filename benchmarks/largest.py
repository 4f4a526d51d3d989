"""The widest network that trains when each process is held to so much memory, under several strategies.

``python benchmarks/largest.py [--limit 3] [--batch 64] [--frames 64] [--microbatches 16] [--cases NAME…]``

The widths of the xl plan are multiplied by a factor, rounded to multiples of 8 (the groups of the normalisations). A
case begins at the factor that its weights, gradients, moments and activations are reckoned to allow, and goes up or
down by ``--step`` to the largest that trains. An attempt takes one step of a short utterance a micro-batch, which makes
the moments, and one of real micro-batches: in the search of as few as fill the strategy's memory, in the end of the
whole batch. Only the latter counts.

The limit is the operating system's (``RLIMIT_DATA``): an allocation that would pass it fails. It counts what a process
may write to, resident or not, so it is set to ``--limit`` plus what the interpreter had reserved and not touched, less
its file pages, when the group had been joined; the largest resident set is read afterwards, as a check.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from resident import (
    ADAMW,
    CLASSES,
    COPIES,
    GIB,
    ROWS,
    Need,
    balanced,
    batch,
    clock,
    fullest,
    launch,
    needs,
    table,
)
from resident import write_record as write

from parallel_ser.models.chain import Chain
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.cost.partition import stage_slices
from parallel_ser.parallel.engine.state import local
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.schedule.registry import schedule_of
from parallel_ser.parallel.settings import StrategySettings, microbatch
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.system.environment import environment
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.system.process import status
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

RANKS = 4
RESULT = Path(__file__).parent / "results" / "largest.json"
BASELINE = 0.62 * GIB  # resident before the model, to begin the search with
MEMORY_ERRORS = ("allocate memory", "bad_alloc", "MemoryError", "could not create", "not enough memory", "ENOMEM")

CASES: dict[str, dict[str, Any]] = {
    "single, whole batch": {"name": "single", "microbatches": 1},
    "single": {"name": "single"},
    "pipeline 1f1b": {"name": "pipeline", "schedule": "1f1b"},
    "pipeline 1f1b, checkpointing": {"name": "pipeline", "schedule": "1f1b", "checkpointing": "block"},
    "pipeline zbv": {"name": "pipeline", "schedule": "zbv"},
    "pipeline 1f1b, 2 stages of 2 ranks": {
        "name": "pipeline",
        "schedule": "1f1b",
        "tensor_parallel": 2,
        "axis": "channel",
    },
    "pipeline 1f1b, 2 stages of 2 ranks, checkpointing": {
        "name": "pipeline",
        "schedule": "1f1b",
        "tensor_parallel": 2,
        "axis": "channel",
        "checkpointing": "block",
    },
    "tensor_split channel": {"name": "tensor_split", "axis": "channel"},
    "fsdp": {"name": "fsdp"},
}


def chain_of(factor: float, device: str = "cpu") -> Chain:
    """The xl chain so many times as wide."""
    with torch.device(device):
        return build(ModelSettings(size="xl", width=factor), ROWS, CLASSES, seed=0)


def v_cut(every: Sequence[Need], parts: int) -> tuple[int, ...]:
    """The cut of a V-shaped schedule whose fullest rank is the emptiest, with up to ``RANKS`` micro-batches held."""
    places = schedule_of("zbv").placement(RANKS)
    best: tuple[int, ...] = ()
    least = math.inf
    for cuts in itertools.combinations(range(1, len(every)), 2 * RANKS - 1):
        held = [0] * RANKS
        for rank, (start, stop) in zip(places, stage_slices(cuts, len(every))):
            held[rank] += sum(one.state + min(parts, RANKS) * one.kept for one in every[start:stop])
        if max(held) < least:
            best, least = cuts, max(held)
    return best


def reckoned(name: str, settings: dict[str, Any], factor: float, args: argparse.Namespace) -> tuple[float, float, Any]:
    """Bytes of the fullest rank, those of its state alone, and the cut of a pipeline."""
    parts = settings["microbatches"]
    chain = chain_of(factor, "meta")
    every = needs(chain, (args.batch // parts, 1, ROWS, args.frames))
    kept, state = sum(one.kept for one in every), sum(one.state for one in every)
    copies = COPIES * max(one.largest for one in every)
    if settings["name"] == "pipeline" and settings["schedule"] == "1f1b":
        again, share = "checkpointing" in settings, settings.get("tensor_parallel", 1)
        stages = RANKS // share
        every = [
            Need(one.state // share, one.kept if share == 1 else one.kept * 3 // 4, one.enters, one.largest // share)
            for one in every
        ]
        cut = balanced(every, stages, parts, again)
        bare = [Need(one.state, 0, 0, 0) for one in every]
        return max(fullest(every, cut, parts, again)), max(fullest(bare, balanced(bare, stages, parts), parts)), cut
    if settings["name"] == "pipeline":
        cut = v_cut(every, parts)
        held, alone = [0] * RANKS, [0] * RANKS
        for rank, (start, stop) in zip(schedule_of("zbv").placement(RANKS), stage_slices(cut, len(every))):
            held[rank] += sum(one.state + RANKS * one.kept for one in every[start:stop])
            alone[rank] += sum(one.state for one in every[start:stop])
        return max(held) + copies, max(alone), cut
    if settings["name"] == "tensor_split":  # shortcuts, stem and head are whole; so are most activations
        whole = sum(p.numel() * ADAMW for n, p in chain.named_parameters() if n.split(".")[1] == "shortcut")
        share = whole + (state - whole) / RANKS
        return share + 0.6 * kept + copies / RANKS, share, ()
    if settings["name"] == "fsdp":  # one block is gathered beside the next
        block = max(one.state for one in every) / 4
        return state / RANKS + 2 * block + kept / RANKS + copies, state / RANKS, ()
    return state + kept + copies, state, ()


def rank_main(case: dict[str, Any], out: Path) -> None:
    """What one rank runs."""
    phase = "build"
    settings = StrategySettings.model_validate(case["strategy"])
    for one in strategies().values():  # imports all, so that the baseline is the same for all
        one.compose(StrategySettings(name=one.name))
    leave = HardExit()
    with process_context("cpu", threads=1, timeout=900) as ranks:
        now = status()
        limit = int(case["limit"] * GIB) - now["VmRSS"] + now["VmData"]
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        record: dict[str, Any] = {"rank": ranks.rank, "baseline": now["VmRSS"], "reserved": now["VmData"]}
        try:
            chain = chain_of(case["factor"])
            record["whole"] = sum(p.numel() for p in chain.parameters())
            phase = "setup"
            strategy = Strategy(settings, clip_norm=10.0)
            shape = (microbatch(settings, ranks.size, case["size"]), 1, ROWS, case["frames"])
            strategy.setup(chain, cross_entropy, lambda p: adamw(p, TrainSettings()), ranks, shape)
            del chain
            gc.collect()
            record["settled"] = status()["VmRSS"]
            phase = "first step"
            strategy.train_step(*batch(settings.microbatches, 8))
            phase = "step"
            began = clock()
            record["loss"] = strategy.train_step(*batch(case["size"], case["frames"]))
            record["seconds"] = clock() - began
        except (RuntimeError, MemoryError) as problem:
            cause: BaseException = problem
            while cause.__cause__:  # torch's pipeline tells of the stage first
                cause = cause.__cause__
            record |= {"failed": phase, "problem": f"{type(cause).__name__}: {cause}"[:500]}
        if "loss" in record:
            record["parameters"] = sum(local(p).numel() for p in strategy.parameters.values())
        record |= {"peak": status()["VmHWM"], "phase": phase}
        write(out / f"{ranks.rank}.json", record)
        if "failed" in record:
            leave(1)
    leave(0)


class Search:
    """The largest factor of a case."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.name, self.args = name, args
        parts = args.microbatches // (RANKS if name == "fsdp" else 1)  # of a rank's share: as many utterances in each
        self.settings = {"microbatches": parts, **CASES[name]}
        self.attempts: list[dict[str, Any]] = []

    def grid(self, number: int) -> float:
        """The factors that are tried: powers of one step."""
        return float((1 + self.args.step) ** number)

    def attempt(self, number: int, whole: bool) -> bool:
        """Whether the network with the factor of that number trains."""
        args, settings = self.args, dict(self.settings)
        factor, parts = self.grid(number), settings["microbatches"]
        _, _, cut = reckoned(self.name, settings, factor, args)
        if cut:
            settings["stages"] = list(cut)
        size = args.batch
        if not whole and parts > 1:
            settings["microbatches"] = 2 * RANKS if settings.get("schedule") == "zbv" else RANKS + 1
            settings["microbatches"] = 2 if settings["name"] != "pipeline" else settings["microbatches"]
            size = args.batch // parts * settings["microbatches"]  # over all ranks
        case = {"strategy": settings, "factor": factor, "limit": args.limit, "size": size, "frames": args.frames}
        case["environment"] = {"MALLOC_MMAP_THRESHOLD_": str(args.mmap)} if args.mmap else {}
        ranks = 1 if settings["name"] == "single" else RANKS
        began = clock()
        records, said = launch(__file__, case, ranks, args.timeout)
        fits = not said and len(records) == ranks and all("failed" not in one for one in records)
        problems = [one["problem"] for one in records if "problem" in one]
        ours = any(word in text for word in MEMORY_ERRORS for text in [said, *problems])
        kind = "trains" if fits else "no memory" if ours else "failed otherwise"
        attempt = {"case": case, "whole": whole, "outcome": kind, "seconds": clock() - began, "ranks": records}
        self.attempts.append(attempt)
        if not fits and not ours:
            print(said[-2000:], file=sys.stderr)
        where = "; ".join(f"rank {one['rank']} in {one['failed']}" for one in records if "failed" in one)
        top = max((one["peak"] for one in records), default=0) / GIB
        print(
            f"{self.name}: factor {factor:.3f}, {'whole batch' if whole else 'few micro-batches'}: {kind} {where} "
            f"(peak {top:.2f} GiB, {attempt['seconds']:.0f} s, cut {list(cut)})",
            file=sys.stderr,
            flush=True,
        )
        return fits

    def run(self) -> dict[str, Any]:
        """Search, then train the whole batch; ``found`` is None where nothing did."""
        free = self.args.limit * GIB - BASELINE
        number = 60
        while reckoned(self.name, self.settings, self.grid(number), self.args)[0] > free:
            number -= 1
        if self.args.start:
            number = round(math.log(self.args.start) / math.log(1 + self.args.step))
        bound = number
        while reckoned(self.name, self.settings, self.grid(bound + 1), self.args)[1] <= free:
            bound += 1
        if self.attempt(number, whole=False):
            while number < bound and self.attempt(number + 1, whole=False):
                number += 1
        else:
            number -= 1
            while number > -40 and not self.attempt(number, whole=False):
                number -= 1
        alone = self.settings["microbatches"] == 1  # then the search was of the whole batch
        while not alone and number > -40 and not self.attempt(number, whole=True):
            number -= 1
        return {
            "factor": self.grid(number),
            "parameters": count(self.grid(number)),
            "bound": count(self.grid(bound)),
            "attempts": self.attempts,
        }


def count(factor: float) -> int:
    """Parameters of the scaled network."""
    return sum(p.numel() for p in chain_of(factor, "meta").parameters())


def row(name: str, found: dict[str, Any], reference: dict[str, Any] | None) -> list[str]:
    """Of the table."""
    done = [one for one in found["attempts"] if one["outcome"] == "trains"][-1]
    failed = [one for one in found["attempts"] if one["outcome"] != "trains"]
    next_up = min(failed, key=lambda one: one["case"]["factor"]) if failed else None
    why = "not reached"
    if next_up:
        places = sorted({one["failed"] for one in next_up["ranks"] if "failed" in one})
        why = f"{next_up['outcome']}, in {' and '.join(places) or 'the step'}"
    ratio = f"{found['parameters'] / reference['parameters']:.2f}" if reference else "–"
    of_bound = f"{found['bound'] / 1e6:.0f} M ({found['parameters'] / found['bound']:.0%})"
    peaks = ", ".join(f"{one['peak'] / GIB:.2f}" for one in done["ranks"])
    cells = [name, f"{found['factor']:.2f}", f"{found['parameters'] / 1e6:.0f} M", ratio, of_bound, peaks]
    cut = done["case"]["strategy"].get("stages", "")
    return [*cells, str(cut), f"{done['ranks'][0]['seconds']:.0f}", why]


HEADS = [
    "case",
    "factor",
    "parameters",
    "of `single`",
    "bound by weights, gradients, moments alone (reached)",
    "peak of each rank, all of it, GiB",
    "cut",
    "seconds of the step",
    "one step wider",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=3.0, help="GiB a process")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--microbatches", type=int, default=16)
    parser.add_argument("--step", type=float, default=0.025, help="of the factor, relative")
    parser.add_argument("--start", type=float, default=0.0, help="the first factor; by default it is reckoned")
    parser.add_argument("--mmap", type=int, default=2**20, help="bytes from which malloc maps; 0 leaves it to glibc")
    parser.add_argument("--cases", nargs="*", default=[], help="by default all")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds an attempt")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--rank", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        rank_main(args.rank, args.out)
    what = {key: getattr(args, key) for key in ("limit", "batch", "frames", "microbatches", "step", "mmap")}
    old = json.loads(args.result.read_text()) if args.result.exists() else {}
    record = {"machine": environment(RANKS, 1), "what": what}
    record["cases"] = old.get("cases", {}) if old.get("what") == what else {}
    for name in args.cases or CASES:
        record["cases"][name] = Search(name, args).run()
        write(args.result, record)
    reference = record["cases"].get("single")
    print(table(HEADS, [row(name, found, reference) for name, found in record["cases"].items()]))


if __name__ == "__main__":
    main()
