"""One process, with gradient accumulation over micro-batches: the honest baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.strategy import Strategy


class Single(Strategy):
    """The whole chain on one rank."""

    def place(self, chain: Chain, shape: tuple[int, ...]) -> Chain:
        """All of it."""
        self.reads_inputs = True
        return chain

    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """See the contract."""
        total = torch.zeros((), dtype=self.dtype, device=self.mesh.device)
        parts = self.settings.microbatches
        for part, wanted in zip(inputs.split(parts), targets.chunk(parts)):
            loss = self.mean_loss(self.module(part.x, part.valid, part.seed), wanted)
            loss.backward()
            total = total + loss.detach()
        return total

    def logits(self, inputs: Inputs) -> Tensor:
        """See the contract."""
        return self.module(inputs.x, inputs.valid, inputs.seed)
