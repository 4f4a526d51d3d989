"""Torch's data parallel relatives, for comparison: the whole chain on each rank, and its share of the batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.single import Single


class Ddp(Single):
    """``DistributedDataParallel``: gradients are averaged in buckets while backward goes on (Li et al. 2020)."""

    def wrap(self) -> None:
        """Wrap the chain; torch's hooks do the sending from here on."""
        super().wrap()
        cuda = self.mesh.device.type == "cuda"
        self.wrapped = DistributedDataParallel(
            self.modules[0], device_ids=[self.mesh.device] if cuda else None, process_group=self.grid.data.group
        )

    def compute(self, inputs: Inputs) -> Tensor:
        """Logits of a micro-batch."""
        training = self.modules[0].training
        logits: Tensor = (self.wrapped if training else self.modules[0])(inputs.x, inputs.valid, inputs.seed)
        return logits

    def mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Times the number of ranks, for torch averages the gradients."""
        return super().mean_loss(logits, targets) * self.grid.data.size

    def micro_step(self, inputs: Inputs, targets: Tensor, last: bool) -> Tensor:
        """Gradients are sent with the last micro-batch alone."""
        self.wrapped.require_backward_grad_sync = last
        return super().micro_step(inputs, targets, last) / self.grid.data.size

    def reduce(self) -> None:
        """Torch has done it."""


class Fsdp(Single):
    """``fully_shard`` (FSDP2): a rank keeps a share of each parameter, and gathers a block when it computes it."""

    def wrap(self) -> None:
        """Shard block by block; the parameters become distributed tensors of which this rank holds a part."""
        if self.grid.devices is None:
            return super().wrap()
        mesh, module = self.grid.devices["data"], self.modules[0]
        for block in module.part:
            fully_shard(block, mesh=mesh)
        fully_shard(module, mesh=mesh)
        self.parameters = dict(module.part.named_parameters())
        return None

    def mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Times the number of ranks, for torch averages the gradients."""
        return super().mean_loss(logits, targets) * self.grid.data.size

    def micro_step(self, inputs: Inputs, targets: Tensor, last: bool) -> Tensor:
        """As for one process, on shards."""
        return super().micro_step(inputs, targets, last) / self.grid.data.size

    def reduce(self) -> None:
        """Torch has done it."""

    def copies(self, name: str) -> int:
        """Each rank holds other values."""
        return 1

    def part_of(self, name: str, whole: Tensor) -> Tensor:
        """This rank's rows."""
        parts = whole.chunk(self.grid.data.size)
        rank = self.grid.data.rank
        return parts[rank] if rank < len(parts) else whole[:0]

    def whole_of(self, name: str, part: Tensor) -> Tensor:
        """All ranks' rows."""
        parameter: Any = self.parameters[name]
        most = -(-parameter.shape[0] // self.grid.data.size)
        padded = part.new_zeros(most, *part.shape[1:])
        padded[: len(part)] = part
        return self.grid.data.gather(padded, 0)[: parameter.shape[0]]

    def spread(self, name: str, part: Tensor) -> Tensor:
        """A distributed tensor as the parameter is one."""
        parameter: Any = self.parameters[name]
        if self.grid.devices is None:
            return part
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
