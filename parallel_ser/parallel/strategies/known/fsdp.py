"""``fully_shard`` (FSDP2): a rank keeps a share of each parameter, and gathers a block when it computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parallel_ser.parallel.strategies.descriptor import Layout, Shards, StrategyDescriptor, Traffic

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.settings import StrategySettings


def traffic(settings: StrategySettings, layout: Layout, size: float, blocks: int) -> Traffic:
    """Each micro-batch gathers every block's weights twice and reduces its gradients once; ``size`` is of a share."""
    data, computed = layout.data, settings.microbatches * blocks
    once = settings.microbatches * size * (data - 1)
    return Traffic(3 * once, 2 * (data > 1) + 3 * computed, computed, gathered=2 * once, scattered=once)


def compose(settings: StrategySettings) -> Pieces:
    """FSDP gathers weights into tensors that it keeps: made in inference mode, training could not use them."""
    import torch

    from parallel_ser.parallel.engine.fsdp import ShardedGradients
    from parallel_ser.parallel.engine.pieces import Pieces

    return Pieces(gradients=ShardedGradients, without_gradients=torch.no_grad)


STRATEGY = StrategyDescriptor(
    name="fsdp",
    holds="a share of each parameter, a share of the batch",
    sends="each block's weights when they are needed, and gradients",
    rank=6,
    even=True,
    traffic=traffic,
    shards=lambda settings, layout: Shards(layout.data, layout.data),
    suites={"memory": ("",)},
    overhead="block",
    compose=compose,
)
