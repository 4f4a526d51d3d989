"""One process, with gradient accumulation over micro-batches: what the others are compared with."""

from __future__ import annotations

from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor

STRATEGY = StrategyDescriptor(
    name="single",
    summary="one process, with gradient accumulation",
    rank=0,
    most=1,
)
