"""``DistributedDataParallel``: gradients are averaged in buckets while backward goes on (Li et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.settings import StrategySettings


def compose(settings: StrategySettings) -> Pieces:
    """Torch's hooks send the gradients."""
    from parallel_ser.parallel.engine.ddp import DistributedGradients
    from parallel_ser.parallel.engine.pieces import Pieces

    return Pieces(gradients=DistributedGradients)


STRATEGY = StrategyDescriptor(
    name="ddp",
    holds="everything, a share of the batch",
    sends="gradients once a step, while backward computes",
    rank=5,
    even=True,
    suites={"scaling": ("",)},
    gradients_stay=True,
    compose=compose,
)
