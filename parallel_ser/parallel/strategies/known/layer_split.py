"""Naive model parallelism: stages on ranks, one micro-batch at a time.

One rank of a copy computes at a time, so it saves memory and no time; it is what pipelines improve on.
"""

from __future__ import annotations

from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor, stages

STRATEGY = StrategyDescriptor(
    name="layer_split",
    holds="some blocks; one process computes at a time (naive model parallelism)",
    sends="activations and their gradients",
    rank=1,
    layout=stages,
    takes=frozenset({"stages", "rebalance", "data_parallel"}),
    overhead="action",
)
