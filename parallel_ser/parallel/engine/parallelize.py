"""What is done to a chain for a rank, in this order: stages, tensor split, checkpointing and precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.comm.dims import Axis, ParallelDims
from parallel_ser.parallel.engine.pieces import Pieces
from parallel_ser.parallel.engine.stage_module import StageModule
from parallel_ser.parallel.engine.stages import Stages
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.tensor import channel, time
from parallel_ser.parallel.tensor.placement import split

NONE: Mapping[str, Any] = {}
TIME_STRIDE = 8
"""A time split gives each rank a multiple of so many frames, which the strides of the models divide."""


def split_blocks(part: Chain, settings: StrategySettings, axis: Axis, own: Mapping[str, Any] = NONE) -> Chain:
    """A stage as a rank of the tensor axis holds it.

    Args:
        part: the stage.
        settings: of the strategy.
        axis: the ranks that share it.
        own: rules that a model brings, by axis and type of block.

    Raises:
        UserError: a block has no rule to split it, and ``replicate_unsplittable`` is not set.
    """
    if axis.size == 1:
        return part
    rules = channel if settings.axis == "channel" else time

    def unknown(block: nn.Module, axis: Any) -> nn.Module:
        if not settings.replicate_unsplittable:
            raise UserError(
                f"no sharding rule for {type(block).__name__} along axis={settings.axis}: use another strategy, or "
                f"strategy.replicate_unsplittable=true to compute it whole on each rank."
            )
        return rules.whole(block, axis)

    return split(part, {**rules.RULES, **own.get(settings.axis, {})}, axis, unknown)


def delay_weight_gradients(part: Chain) -> None:
    """Have normalisations allow a schedule to compute weights' gradients later than inputs'."""
    for module in part.modules():
        if hasattr(module, "split_weight_grad"):
            module.split_weight_grad = True  # type: ignore[assignment]


def parallelize(
    chain: Chain,
    settings: StrategySettings,
    context: ProcessContext,
    dims: ParallelDims,
    stages: Stages,
    pieces: Pieces,
    bf16: bool,
) -> list[StageModule]:
    """The modules of this rank, one a stage; they share the chain's parameters, or hold parts of them."""
    dtype = next(chain.parameters()).dtype
    modules = []
    for number, part in zip(stages.own, stages.parts_of(chain), strict=True):
        own = split_blocks(part, settings, dims.tensor, chain.rules)
        if pieces.splits_backward:
            delay_weight_gradients(own)
        modules.append(
            StageModule(
                own,
                context.device,
                bf16,
                settings.checkpointing,
                takes_tuple=stages.tuples[number],
                output_dtype=stages.output_dtype(number),
                dtype=dtype,
                differentiable=number + 1 < len(stages.ranks) and stages.trains(number + 1),
            )
        )
    return modules


def local_inputs(inputs: Inputs, settings: StrategySettings, axis: Axis) -> Inputs:
    """What a rank of the tensor axis computes with: all of it, or its frames.

    Raises:
        UserError: a split over time, of inputs that are no images ``(batch, channels, rows, frames)``.
    """
    if axis.size == 1 or settings.axis != "time":
        return inputs
    if isinstance(inputs.x, tuple) or inputs.x.ndim != 4:
        raise UserError(
            "strategy.axis=time splits the last dimension of one tensor (batch, channels, rows, frames), and these "
            "inputs are none: use strategy.axis=channel or another strategy."
        )
    wide = inputs.widened(TIME_STRIDE * axis.size)
    assert not isinstance(wide.x, tuple)
    return Inputs(axis.slice(wide.x, -1), time.local_shares(wide.valid, axis), wide.seed, wide.extras)
