"""Tensor parallelism: every block on all ranks of a copy, split over channels (Shoeybi et al. 2019) or over time.

The split along time is sequence parallelism: each rank holds a slice of the frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.parallel.strategies.descriptor import Layout, StrategyDescriptor

if TYPE_CHECKING:
    from parallel_ser.parallel.settings import StrategySettings


def layout(settings: StrategySettings, ranks: int) -> Layout:
    """All ranks of a copy share each block."""
    return Layout(settings.data_parallel, 1, ranks // settings.data_parallel)


STRATEGY = StrategyDescriptor(
    name="tensor_split",
    holds="channels of each block, or all weights and frames of each utterance (sequence parallelism)",
    sends="sums of activations; edges of frames and gradients",
    rank=2,
    layout=layout,
    takes=frozenset({"axis", "data_parallel"}),
    even=True,
    variants=lambda copies: {axis: {"axis": axis} for axis in ("channel", "time")},
    suites={"memory": ("channel", "time"), "scaling": ("time",)},
    words=lambda settings: settings.axis,
)
