"""One process, with gradient accumulation over micro-batches: what the others are compared with."""

from __future__ import annotations

from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor

STRATEGY = StrategyDescriptor(
    name="single",
    holds="everything; micro-batches one after the other",
    sends="nothing",
    rank=0,
    most=1,
)
