"""``DistributedDataParallel``: gradients are averaged in buckets while backward goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from parallel_ser.models.batch import Activations, Inputs
from parallel_ser.parallel.engine.gradients import SummedGradients

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.strategy import Strategy


class DistributedGradients(SummedGradients):
    """Torch's hooks do the sending."""

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self.scale = float(strategy.dims.data.size)

    def wrap(self) -> None:
        """Wrap the chain."""
        super().wrap()
        strategy = self.strategy
        cuda = strategy.context.device.type == "cuda"
        self.wrapped = DistributedDataParallel(
            strategy.modules[0],
            device_ids=[strategy.context.device] if cuda else None,
            process_group=strategy.dims.data.group,
            gradient_as_bucket_view=True,
        )
        # as torch does by itself; a lambda, for torch reads annotations and not those that are strings
        self.wrapped.register_comm_hook(None, lambda state, bucket: self._begin(bucket))
        self._begun = self._done = 0.0

    def clear(self) -> None:
        """Fill them with zeros: they lie in the buckets that are sent, and would else be there twice."""
        self.strategy.optimizer.optimizer.zero_grad(set_to_none=False)

    def compute(self, module: nn.Module, inputs: Inputs, x: tuple[Tensor, ...], last: bool) -> Activations:
        """Gradients are sent with the last micro-batch alone."""
        self.wrapped.require_backward_grad_sync = last
        y: Activations = self.wrapped(*x, **inputs.beside)
        return y

    def passed(self) -> None:
        """Of the sending the time is kept that backward waits for it: what is sent while it computes costs nothing."""
        if self._done > self._begun:
            messages = self.strategy.dims.data.message()
            self.strategy.stats.record("all-reduce", self._begun, self._done, messages=messages)

    def reduce(self) -> None:
        """Torch has done it."""

    def _begin(self, bucket: Any) -> Any:
        """Send off a bucket of gradients, when all of them are there; the last is sent when backward has computed."""
        data = self.strategy.dims.data
        mean = bucket.buffer().div_(data.size)
        share = 2 * (data.size - 1) / data.size
        with self.strategy.stats.span("all-reduce", mean, share, messages=data.message()):
            work: Any = dist.all_reduce(mean, group=data.group, async_op=True)
        self._begun = time.perf_counter()

        def done(future: Any) -> Tensor:
            self._done = time.perf_counter()
            result: Tensor = future.value()[0]
            return result

        return work.get_future().then(done)
