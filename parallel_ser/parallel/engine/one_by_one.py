"""One micro-batch after another, through all stages and back; with one stage that is gradient accumulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from parallel_ser.models.batch import Inputs, each, tensors

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Labels
    from parallel_ser.parallel.engine.strategy import Strategy


class OneByOne:
    """A rank has one stage at the most."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def ready(self) -> None:
        """See ``Passes``."""

    def gradients(self, inputs: Inputs, labels: Labels) -> Tensor:
        """See ``Passes``."""
        strategy, stages = self.strategy, self.strategy.stages
        total = torch.zeros((), dtype=strategy.dtype, device=strategy.context.device)
        parts = list(inputs.split(strategy.settings.microbatches))
        labelled = split_labels(labels, len(parts))
        for number, (part, wanted) in enumerate(zip(parts, labelled, strict=True)):
            loss = self._pass(part, wanted, number, last=number == len(parts) - 1)
            total = total if loss is None else total + loss
        strategy.gradients.passed()
        total = total / strategy.gradients.scale
        return stages.axis.broadcast(total, stages.axis.size - 1)

    def _pass(self, part: Inputs, wanted: Labels, number: int, last: bool) -> Tensor | None:
        """A micro-batch forward and backward; its loss on the last stage."""
        strategy, stages, (module,) = self.strategy, self.strategy.stages, self.strategy.modules
        stage = stages.own[0]
        where = f"stage {stage}, " if len(stages.ranks) > 1 else ""
        detail = f"{where}micro-batch {number}"
        x = tensors(part.x)
        if stage:
            x = tuple(tensor.requires_grad_() for tensor in stages.receive(part, stage))
        with strategy.stats.span("forward", detail=detail):
            output = strategy.gradients.compute(module, part, x, last)
            loss = strategy.mean_loss(output, wanted) if stages.last else None
        y = tensors(output)
        gradients: list[Tensor] = []
        if loss is None:
            sending = stages.send(tuple(tensor.detach() for tensor in y), stage + 1)
            gradients = [stages.axis.receive(torch.empty_like(tensor), stages.ranks[stage + 1]) for tensor in y]
            for work in sending:
                work.wait()
        with strategy.stats.span("backward", detail=detail):
            if loss is not None:
                loss.backward()
            else:
                kept = [place for place, tensor in enumerate(y) if tensor.requires_grad]
                if kept:
                    torch.autograd.backward([y[place] for place in kept], [gradients[place] for place in kept])
        if stage:
            for work in stages.send(tuple(_gradient(tensor) for tensor in x), stage - 1):
                work.wait()
        return None if loss is None else loss.detach()


def _gradient(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad


def split_labels(labels: Labels, parts: int) -> list[Labels]:
    """Targets and weights of each micro-batch."""
    targets, weight = labels
    size = -(-len(weight) // parts)

    def rows(start: int) -> Labels:
        return each(lambda tensor: tensor[start : start + size], targets), weight[start : start + size]

    return [rows(start) for start in range(0, len(weight), size)]
