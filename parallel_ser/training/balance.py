"""``strategy.rebalance=true``: what each rank's work takes in an epoch's last steps, and what should move by that."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.cost import rebalance
from parallel_ser.parallel.cost.rebalance import Left, Move, Pipeline
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.tracing import trace
from parallel_ser.parallel.tracing.stats import CommStats
from parallel_ser.system.cores import usable_cores
from parallel_ser.training.tracing import schedule_of

STEPS = 10
"""Steps at the end of an epoch that are measured."""


class Balance:
    """Measures on every rank alike, and decides on the first.

    A rank's work is the time of its passes without messages by the clock; by the processor's time where the ranks of a
    machine have fewer cores than threads, for then the clock also counts the others' turns.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.context: ProcessContext = strategy.context
        self.orders, self.places = schedule_of(strategy.settings, self.context.size)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        crowded = here * torch.get_num_threads() > usable_cores()
        self.by_clock = self.context.device.type == "cuda" or not crowded
        self.work: list[float] = []
        self.steps: list[float] = []

    @contextmanager
    def step(self, stats: CommStats, left: int) -> Iterator[None]:
        """Around a step that so many of its epoch follow."""
        if left >= STEPS:
            yield
            return
        traced, before, began = stats.tracing, len(stats.spans), time.perf_counter()
        stats.tracing = True
        yield
        stats.tracing = traced
        self.steps.append(time.perf_counter() - began)
        self.work.append(trace.passes(stats.spans[before:])[0 if self.by_clock else 1])
        if not traced:
            del stats.spans[before:]

    def decided(self, strategy: Strategy, steps: int, moving: float, left: Sequence[Left]) -> Move | None:
        """What to change before the ``steps`` that are left, the same on every rank; see ``rebalance.decide``."""
        if not self.steps:
            return None
        every = self.context.gather((statistics.median(self.work), statistics.median(self.steps)))
        self.work, self.steps = [], []
        stages = strategy.stages

        def move() -> Move | None:
            work = [0.0] * stages.axis.size
            for place, (own, _) in zip(self.places, every, strict=True):  # copies and slices wait for the slowest
                work[place] = max(work[place], own)
            costs = rebalance.costs_of(stages.profiles, strategy.settings.checkpointing != "none")
            pipeline = Pipeline(costs, tuple(stages.ranks), self.orders)
            step = max(length for _, length in every)
            return rebalance.decide(pipeline, tuple(stages.cuts), work, step, steps, moving, left)

        return self.context.rank0_first(move, share=True)
