"""How much memory a rank needs, predicted from the profiles of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from parallel_ser.parallel.cost.block_profile import BlockProfile
from parallel_ser.parallel.schedule.simulate import InFlight
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.strategies.descriptor import Shards

MOMENTS = 2  # of AdamW, each as large as the weights
COPIES = 2  # of a block's weights: as measured, its layers' new gradients and what convolutions make of their weights
GATHERED = 3  # of a block's weights under FSDP: gathered, their gradients, and those in the message


def stage_bytes(
    settings: StrategySettings,
    blocks: Sequence[BlockProfile],
    in_flight: InFlight,
    halved: bool,
    shards: Shards,
    gradients_stay: bool,
) -> float:
    """Bytes of a stage: weights, gradients and moments of those that are trained, and what a step holds beside them.

    Where gradients are let go after a step that has one micro-batch alone, they grow while activations shrink.

    Args:
        settings: of the strategy.
        blocks: of the stage, at the size of a micro-batch.
        in_flight: micro-batches that it holds.
        halved: whether its backward passes are split in two, for a zero-bubble schedule.
        shards: how many ranks share the state.
        gradients_stay: whether gradients keep their memory from step to step.
    """
    parameters = sum(block.parameters for block in blocks)
    trained = [block.trained / shards.weights for block in blocks]
    state = parameters / shards.weights + MOMENTS * sum(block.trained for block in blocks) / shards.moments
    gathered = GATHERED * max(block.parameters for block in blocks) if shards.weights > 1 else 0
    gradients = [sum(trained)] * len(blocks)
    if settings.microbatches == 1 and not gradients_stay:  # of the blocks behind each
        gradients = [sum(trained) - up_to for up_to in accumulate(trained)]
    return state + gathered + activation_bytes(settings, blocks, in_flight, halved, gradients)


def activation_bytes(
    settings: StrategySettings,
    blocks: Sequence[BlockProfile],
    in_flight: InFlight,
    halved: bool,
    gradients: Sequence[float],
) -> float:
    """Bytes of a stage's activations at the most, of what comes and goes beside them, and of the ``gradients`` that are
    there when each block goes backward.

    All micro-batches in flight but one are between their passes. That one goes backward: block by block it lets go what
    was kept, has the value and the gradient of the largest activation in it or behind it, and of the block's weights
    new gradients before they are added to the old and what convolutions make of them. A micro-batch between the halves
    of its backward pass has gradients, too.
    """
    saved: list[float] = [block.delayed if halved else block.saved for block in blocks]
    again = [0.0] * len(blocks)
    if settings.checkpointing != "none":
        again = saved
        saved = [*(float(block.entering) for block in blocks[1:]), 0.0]
    if settings.checkpointing == "stage":
        again, saved = list(accumulate(again)), [0.0] * len(blocks)
    backward = [
        alive + more + 2.0 * max(block.leaving, block.largest) + COPIES * block.trained + made
        for alive, more, block, made in zip(accumulate(saved), again, blocks, gradients, strict=True)
    ]
    between = in_flight.waiting * sum(block.waiting for block in blocks) if halved else 0
    several = in_flight.activations * blocks[0].entering + max(0, in_flight.activations - 1) * sum(saved)
    return several + between + max(backward)
