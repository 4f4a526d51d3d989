"""Our 1F1B against torch's schedule driven the way of its tutorial, with the same network, cut and micro-batches.

``torchrun --nproc_per_node=2 benchmarks/pipelines.py [--size m] [--batch 32] [--frames 128] [--microbatches 8]``

Both are set up in the same processes, and their steps are timed in turn (A B A B), from when all ranks are there to
when the slowest has stepped its optimizer. The tutorial's way: ``PipelineStage`` and ``Schedule1F1B`` on parts of the
chain as it was built, which find the shapes by themselves, then on each rank clipping and the optimizer alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.cost.partition import stage_slices
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.environment import environment
from parallel_ser.system.files import write_text
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.training.optim import adamw, cross_entropy
from parallel_ser.training.settings import TrainSettings

ROWS, CLASSES = 64, 8
Step = Callable[[], None]


class Part(nn.Module):
    """A stage for whole utterances, as a tutorial would write it."""

    def __init__(self, part: Chain) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        valid, seed = torch.ones(len(x)), torch.zeros(len(x), dtype=torch.int64)
        y: Tensor = self.part(x, valid, seed).contiguous()
        return y


def ours(ranks: ProcessContext, args: argparse.Namespace, x: Tensor, targets: Tensor) -> tuple[Step, tuple[int, ...]]:
    """A step of the project's strategy, and where it cuts."""
    settings = StrategySettings(name="pipeline", schedule="1f1b", microbatches=args.microbatches)
    strategy = Strategy(settings, clip_norm=10.0)
    chain = build(ModelSettings(size=args.size, dropout=0.0), ROWS, CLASSES, 0)
    names = [name for name, _ in chain.named_children()]
    shape = (args.batch // args.microbatches, 1, ROWS, args.frames)
    strategy.setup(chain, cross_entropy, lambda p: adamw(p, TrainSettings()), ranks, shape)
    first = [next(iter(module.part.named_children()))[0] for module in strategy.modules]
    opens: list[list[str]] = [[] for _ in range(ranks.size)]
    dist.all_gather_object(opens, first)
    cuts = tuple(names.index(one[0]) for one in opens[1:])
    inputs = Inputs(x, torch.ones(len(x)), torch.zeros(len(x), dtype=torch.int64))

    def step() -> None:
        strategy.train_step(inputs, targets)

    return step, cuts


def plain(ranks: ProcessContext, args: argparse.Namespace, x: Tensor, targets: Tensor, cuts: tuple[int, ...]) -> Step:
    """A step as in torch's tutorial."""
    chain = build(ModelSettings(size=args.size, dropout=0.0), ROWS, CLASSES, 0)
    part = Part(chain.part(*stage_slices(cuts, len(chain))[ranks.rank]))
    stage = PipelineStage(part, ranks.rank, ranks.size, torch.device("cpu"))

    def loss(logits: Tensor, wanted: Tensor) -> Tensor:
        return cross_entropy(logits, wanted).mean()

    schedule = Schedule1F1B(stage, args.microbatches, loss_fn=loss)
    optimizer = torch.optim.AdamW(part.parameters(), TrainSettings().learning_rate)

    def step() -> None:
        optimizer.zero_grad()
        if ranks.first:
            schedule.step(x)
        else:
            schedule.step(target=targets) if ranks.rank == ranks.size - 1 else schedule.step()
        torch.nn.utils.clip_grad_norm_(part.parameters(), 10.0)
        optimizer.step()

    return step


def timed(step: Step) -> float:
    """Seconds of the slowest rank."""
    dist.barrier()
    began = time.perf_counter()
    step()
    took = torch.tensor([time.perf_counter() - began])
    dist.all_reduce(took, dist.ReduceOp.MAX)
    return float(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="m")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--frames", type=int, default=128)
    parser.add_argument("--microbatches", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--result", type=Path)
    args = parser.parse_args()
    leave = HardExit()
    with process_context("cpu", threads=1, timeout=300) as ranks:
        torch.manual_seed(0)
        x, targets = (
            torch.randn(args.batch, 1, ROWS, args.frames),
            torch.eye(CLASSES)[torch.arange(args.batch) % CLASSES],
        )
        mine, cuts = ours(ranks, args, x, targets)
        steps = {"ours": mine, "tutorial": plain(ranks, args, x, targets, cuts)}
        for step in steps.values():
            for _ in range(2):
                step()
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(args.rounds):
            for name, step in steps.items():
                seconds[name].append(timed(step))
        if ranks.first:
            ratios = sorted(other / own for own, other in zip(seconds["ours"], seconds["tutorial"]))
            low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
            print(f"{ranks.size} ranks, CNN {args.size}, {args.batch} × {args.frames} frames, cut {list(cuts)}")
            for name, own in seconds.items():
                print(f"{name}: {1e3 * statistics.median(own):.1f} ms a step")
            print(f"ours is {statistics.median(ratios):.2f} times as fast (quartiles {low:.2f} to {high:.2f})")
            if args.result:
                what = {
                    **vars(args),
                    "result": args.result.name,
                    "cuts": cuts,
                    "environment": environment(ranks.size, 1),
                }
                write_text(args.result, json.dumps({**what, "seconds": seconds}, indent=1) + "\n")
    leave(0)


if __name__ == "__main__":
    main()
