"""Torch's data parallel relatives, for comparison: the whole chain on each rank, and its share of the batch."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.grid import Axis
from parallel_ser.parallel.single import Single


class Averaged(Single):
    """What torch's relatives share: they reduce the gradients by themselves, and average where a sum is asked for."""

    def mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Times the number of ranks, for torch averages the gradients."""
        return super().mean_loss(logits, targets) * self.grid.data.size

    def micro_step(self, inputs: Inputs, targets: Tensor, number: int) -> Tensor:
        """As for one process."""
        return super().micro_step(inputs, targets, number) / self.grid.data.size

    def reduce(self) -> None:
        """Torch has done it."""


class Ddp(Averaged):
    """``DistributedDataParallel``: gradients are averaged in buckets while backward goes on (Li et al. 2020)."""

    def wrap(self) -> None:
        """Wrap the chain; torch's hooks do the sending from here on."""
        super().wrap()
        cuda = self.mesh.device.type == "cuda"
        self.wrapped = DistributedDataParallel(
            self.modules[0],
            device_ids=[self.mesh.device] if cuda else None,
            process_group=self.grid.data.group,
            gradient_as_bucket_view=True,
        )
        # as torch does by itself; a lambda, for torch reads annotations and not those that are strings
        self.wrapped.register_comm_hook(None, lambda state, bucket: self._begin(bucket))
        self._begun = self._done = 0.0

    def clear(self) -> None:
        """Fill them with zeros: they lie in the buckets that are sent, and would else be there twice."""
        self.optimizer.zero_grad(set_to_none=False)

    def compute(self, inputs: Inputs) -> Tensor:
        """Logits of a micro-batch."""
        training = self.modules[0].training
        logits: Tensor = (self.wrapped if training else self.modules[0])(inputs.x, inputs.valid, inputs.seed)
        return logits

    def micro_step(self, inputs: Inputs, targets: Tensor, number: int) -> Tensor:
        """Gradients are sent with the last micro-batch alone.

        Of the sending the time is kept that backward waits for it: what is sent while backward computes costs nothing.
        """
        last = number == self.settings.microbatches - 1
        self.wrapped.require_backward_grad_sync = last
        loss = super().micro_step(inputs, targets, number)
        if last and self._done > self._begun:
            self.meter.keep("all-reduce", self._begun, self._done, messages=self.grid.data.message())
        return loss

    def _begin(self, bucket: Any) -> Any:
        """Send off a bucket of gradients, when all of them are there; the last is sent when backward has computed."""
        size = self.grid.data.size
        mean = bucket.buffer().div_(size)
        with self.meter.span("all-reduce", mean, 2 * (size - 1) / size, messages=self.grid.data.message()):
            work: Any = dist.all_reduce(mean, group=self.grid.data.group, async_op=True)
        self._begun = time.perf_counter()

        def done(future: Any) -> Tensor:
            self._done = time.perf_counter()
            result: Tensor = future.value()[0]
            return result

        return work.get_future().then(done)


class _Passing:
    """How FSDP2 passes tensors, as it does by itself, timed and counted; on a GPU what is timed is the call."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Room for a tensor."""
        return torch.empty(*size, dtype=dtype, device=device)


class _Gather(_Passing):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        axis = self.axis
        with axis.meter.span("all-gather", input_tensor, axis.size - 1, messages=axis.message()):
            return dist.all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class _Scatter(_Passing):
    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        axis = self.axis
        share = (axis.size - 1) / axis.size
        with axis.meter.span("reduce-scatter", input_tensor, share, messages=axis.message()):
            return dist.reduce_scatter_single(output_tensor, input_tensor, group=group, op=op, async_op=async_op)


class Fsdp(Averaged):
    """``fully_shard`` (FSDP2): a rank keeps a share of each parameter, and gathers a block when it computes it."""

    # FSDP gathers weights into tensors that it keeps: made in inference mode, training could not use them
    without_gradients = torch.no_grad

    def divided(self, shared: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Each block has its own part of a parameter."""
        return shared if self.grid.data.size > 1 else []

    def wrap(self) -> None:
        """Shard block by block; the parameters become distributed tensors of which this rank holds a part."""
        if self.grid.devices is None:
            return super().wrap()
        mesh, module = self.grid.devices["data"], self.modules[0]
        for block in module.part:
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        for part in (*module.part, module):
            part.set_custom_all_gather(_Gather(self.grid.data))
            part.set_custom_reduce_scatter(_Scatter(self.grid.data))
        self.parameters = dict(module.part.named_parameters())
        return None

    def copies(self, name: str) -> int:
        """Each rank holds other values."""
        return 1

    def part_of(self, name: str, whole: Tensor) -> Tensor:
        """This rank's rows; the whole of a buffer."""
        if name in self.buffers:
            return whole
        parts = whole.chunk(self.grid.data.size)
        rank = self.grid.data.rank
        return parts[rank] if rank < len(parts) else whole[:0]

    def whole_of(self, name: str, part: Tensor) -> Tensor:
        """All ranks' rows; a buffer as it is."""
        if name in self.buffers:
            return part
        parameter: Any = self.parameters[name]
        most = -(-parameter.shape[0] // self.grid.data.size)
        padded = part.new_zeros(most, *part.shape[1:])
        padded[: len(part)] = part
        return self.grid.data.gather(padded, 0)[: parameter.shape[0]]

    def spread(self, name: str, part: Tensor) -> Tensor:
        """A distributed tensor as the parameter is one; a buffer as it is."""
        if self.grid.devices is None or name in self.buffers:
            return part
        parameter: Any = self.parameters[name]
        return DTensor.from_local(
            part,
            parameter.device_mesh,
            parameter.placements,
            run_check=False,
            shape=parameter.shape,
            stride=parameter.stride(),
        )

    def moment(self, name: str, part: Tensor) -> Tensor:
        """A distributed tensor beside the parameter's."""
        return self.spread(name, super().moment(name, part))
