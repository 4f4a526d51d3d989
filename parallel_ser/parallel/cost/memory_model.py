"""How much memory a rank needs, predicted from the profiles of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from parallel_ser.parallel.cost.block_profile import BlockProfile
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.strategies.descriptor import Shards

MOMENTS = 2  # of AdamW, each as large as the weights
COPIES = 2  # of a block's weights: as measured, its layers' new gradients and what convolutions make of their weights
GATHERED = 3  # of a block's weights under FSDP: gathered, their gradients, and those in the message

ALONE = Shards()


def stage_bytes(
    settings: StrategySettings, blocks: Sequence[BlockProfile], in_flight: float, shards: Shards = ALONE
) -> float:
    """Bytes of a stage: weights, gradients and moments of those that are trained, and what a step holds beside them.

    Args:
        settings: of the strategy.
        blocks: of the stage, at the size of a micro-batch.
        in_flight: micro-batches whose activations are held.
        shards: how many ranks share the state.
    """
    parameters = sum(block.parameters for block in blocks)
    trained = sum(block.trained for block in blocks)
    state = (parameters + trained) / shards.weights + MOMENTS * trained / shards.moments
    gathered = GATHERED * max(block.parameters for block in blocks) if shards.weights > 1 else 0
    return state + gathered + activation_bytes(settings, blocks, in_flight)


def activation_bytes(settings: StrategySettings, blocks: Sequence[BlockProfile], in_flight: float) -> float:
    """Bytes of a stage's activations at the most, and of what comes and goes beside them.

    All micro-batches in flight but one are between their passes. That one goes backward: block by block it lets go what
    was kept, has the value and the gradient of the largest activation in it or behind it, and of the block's weights
    new gradients before they are added to the old and what convolutions make of them.
    """
    kept: list[float] = [block.saved for block in blocks]
    again = [0.0] * len(blocks)
    if settings.checkpointing != "none":
        again = kept
        kept = [*(float(block.entering) for block in blocks[1:]), 0.0]
    if settings.checkpointing == "stage":
        again, kept = list(accumulate(again)), [0.0] * len(blocks)
    backward = [
        alive + more + 2.0 * max(block.leaving, block.inner) + COPIES * block.trained
        for alive, more, block in zip(accumulate(kept), again, blocks, strict=True)
    ]
    return in_flight * blocks[0].entering + max(0.0, in_flight - 1.0) * sum(kept) + max(backward)
