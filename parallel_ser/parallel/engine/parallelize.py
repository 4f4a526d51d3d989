"""What is done to a chain for a rank, in this order: stages, tensor split, checkpointing and precision."""

from __future__ import annotations

from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain, delay_weight_gradients
from parallel_ser.parallel.comm.context import ProcessContext
from parallel_ser.parallel.comm.dims import Axis, ParallelDims
from parallel_ser.parallel.engine.pieces import Pieces
from parallel_ser.parallel.engine.stage_module import StageModule
from parallel_ser.parallel.engine.stages import Stages
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.tensor.rules import split_blocks
from parallel_ser.parallel.tensor.time import local_frames


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
        own = split_blocks(part, settings.axis, dims.tensor, settings.replicate_unsplittable)
        # torch's PipelineStage never splits the first stage's backward pass
        delay_weight_gradients(own, pieces.splits_backward and number > 0)
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
    return local_frames(inputs, axis) if axis.size > 1 and settings.axis == "time" else inputs
