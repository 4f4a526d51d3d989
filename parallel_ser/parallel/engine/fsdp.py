"""``fully_shard`` (FSDP2): a rank keeps a share of each parameter, and gathers a block when it computes it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard

from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.engine.gradients import SummedGradients
from parallel_ser.parallel.tensor.placement import Placement

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.strategy import Strategy


class ShardedGradients(SummedGradients):
    """Torch's hooks gather weights and scatter gradients, which it averages."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self.scale = float(strategy.dims.data.size)

    def wrap(self) -> None:
        """Shard block by block; the parameters become distributed tensors of which this rank holds rows."""
        strategy = self.strategy
        if strategy.dims.devices is None:
            return super().wrap()
        # torch warns of blocks that give views, which a change in place would take from its hooks: blocks make none
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
        mesh, module = strategy.dims.devices["data"], strategy.modules[0]
        for block in module.part:
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        for part in (*module.part, module):
            part.set_custom_all_gather(_Gather(strategy.dims.data))
            part.set_custom_reduce_scatter(_Scatter(strategy.dims.data))
        strategy.parameters = dict(module.part.named_parameters())
        strategy.placements = dict.fromkeys(strategy.parameters, Placement(dim=0, over="data"))
        return None

    def reduce(self) -> None:
        """Torch has done it."""


class _Passing:
    """How FSDP2 passes tensors, as it does by itself, timed and counted; on a GPU what is timed is the call."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """An empty tensor."""
        return torch.empty(*size, dtype=dtype, device=device)


class _Gather(_Passing):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        axis = self.axis
        with axis.stats.span("all-gather", input_tensor, axis.size - 1, messages=axis.message()):
            return dist.all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class _Scatter(_Passing):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        axis = self.axis
        share = (axis.size - 1) / axis.size
        with axis.stats.span("reduce-scatter", input_tensor, share, messages=axis.message()):
            return dist.reduce_scatter_single(output_tensor, input_tensor, group=group, op=op, async_op=async_op)
