"""Blocks split along an axis: by our rules and the model's own."""

from __future__ import annotations

from typing import Any

from torch import nn

from parallel_ser.errors import UserError
from parallel_ser.models.chain import Chain
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.tensor import channel, encoder_channel, encoder_time, time
from parallel_ser.parallel.tensor.placement import split


def split_blocks(chain: Chain, along: str, axis: Axis, replicate: bool) -> Chain:
    """The chain, or a stage of it, as a rank of the tensor axis holds it.

    Args:
        chain: whose ``rules`` go before ours.
        along: ``channel`` or ``time``.
        axis: the ranks that share it.
        replicate: compute a block that has no rule whole on each rank.

    Raises:
        UserError: a block has no rule, and is not to be replicated.
    """
    if axis.size == 1:
        return chain
    rules, encoders = (channel, encoder_channel) if along == "channel" else (time, encoder_time)

    def unknown(block: nn.Module, axis: Any) -> nn.Module:
        if not replicate:
            raise UserError(
                f"no sharding rule for {type(block).__name__} along axis={along}: use another strategy, or "
                f"strategy.replicate_unsplittable=true to compute it whole on each rank."
            )
        return rules.whole(block, axis)

    return split(chain, {**rules.RULES, **encoders.RULES, **chain.rules.get(along, {})}, axis, unknown)
