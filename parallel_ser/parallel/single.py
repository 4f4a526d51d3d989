"""One process, with gradient accumulation over micro-batches: the honest baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.strategy import Strategy


class Single(Strategy):
    """The whole chain on each rank."""

    def place(self, chain: Chain, shape: tuple[int, ...]) -> list[Chain]:
        """All of it."""
        self.reads_inputs = True
        return [chain]

    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """See the contract."""
        total = torch.zeros((), dtype=self.dtype, device=self.mesh.device)
        parts = self.settings.microbatches
        for number, (part, wanted) in enumerate(zip(inputs.split(parts), targets.chunk(parts))):
            total = total + self.micro_step(part, wanted, number)
        return total

    def micro_step(self, inputs: Inputs, targets: Tensor, number: int) -> Tensor:
        """Forward and backward of a micro-batch, the ``number``-th from 0; its loss."""
        with self.meter.span("forward", detail=f"micro-batch {number}"):
            loss = self.mean_loss(self.compute(inputs), targets)
        with self.meter.span("backward", detail=f"micro-batch {number}"):
            loss.backward()
        return loss.detach()

    def compute(self, inputs: Inputs) -> Tensor:
        """Logits of a micro-batch."""
        logits: Tensor = self.modules[0](inputs.x, inputs.valid, inputs.seed)
        return logits

    def logits(self, inputs: Inputs) -> Tensor:
        """See the contract."""
        return self.compute(inputs)
