"""Gradients summed over the copies of the model, after the passes."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from parallel_ser.models.batch import Activations, Inputs
from parallel_ser.parallel.comm.dims import Axis

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.strategy import Strategy

BUCKET = 32 * 2**20
"""Bytes of gradients that are summed in one message."""


class SummedGradients:
    """Summed over the slices of a time split and over the copies, many in one message."""

    scale = 1.0

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def wrap(self) -> None:
        """Weights in the memory format that suits images."""
        for module in self.strategy.modules:
            module.to(memory_format=torch.channels_last)

    def compute(self, module: nn.Module, inputs: Inputs, x: tuple[Tensor, ...], last: bool) -> Activations:
        """See ``Gradients``."""
        y: Activations = module(*x, **inputs.beside)
        return y

    def passed(self) -> None:
        """See ``Gradients``."""

    def clear(self) -> None:
        """See ``Gradients``."""
        for parameter in self.strategy.parameters.values():
            parameter.grad = None

    def reduce(self) -> None:
        """See ``Gradients``."""
        strategy = self.strategy
        partial = [name for name, placement in strategy.placements.items() if placement.partial]
        self._sum(partial, strategy.dims.tensor)
        self._sum(list(strategy.parameters), strategy.dims.data)

    def _sum(self, names: list[str], axis: Axis) -> None:
        """Sum gradients over an axis, a bucket in one message."""
        grads = [p.grad for name in names if (p := self.strategy.parameters[name]).grad is not None]
        while axis.size > 1 and grads:
            sizes = accumulate(grad.numel() * grad.element_size() for grad in grads)
            count = max(1, sum(size <= BUCKET for size in sizes))
            bucket, grads = grads[:count], grads[count:]
            axis.sum_together(bucket)
