"""Consecutive blocks on each rank, one micro-batch at a time, sent and received by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.stages import Staged


class LayerSplit(Staged):
    """Only one rank of a copy computes at a time: it saves memory and no time, and is what pipelines improve on."""

    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """See the contract."""
        axis, (module,) = self.grid.pipeline, self.modules
        total = torch.zeros((), dtype=self.dtype, device=self.mesh.device)
        parts = self.settings.microbatches
        for number, (part, wanted) in enumerate(zip(inputs.split(parts), targets.chunk(parts))):
            x, detail = part.x, f"stage {axis.rank}, micro-batch {number}"
            if axis.rank:
                x = axis.receive(self.entering(part), axis.rank - 1).requires_grad_()
            with self.meter.span("forward", detail=detail):
                y = module(x, part.valid, part.seed)
                loss = self.mean_loss(y, wanted) if self.last else None
            if loss is None:
                sending = axis.send(y.detach(), axis.rank + 1)
                gradient = axis.receive(torch.empty_like(y), axis.rank + 1)
                sending.wait()
            with self.meter.span("backward", detail=detail):
                if loss is not None:
                    loss.backward()
                    total = total + loss.detach()
                elif y.requires_grad:
                    y.backward(gradient)
            if axis.rank:
                assert x.grad is not None
                axis.send(x.grad, axis.rank - 1).wait()
        return axis.broadcast(total, axis.size - 1)
