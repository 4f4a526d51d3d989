"""Micro-batches following each other through the stages: ``torch.distributed.pipelining`` under any schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from parallel_ser.models.batch import Inputs, tensors
from parallel_ser.parallel.engine.one_by_one import split_labels
from parallel_ser.parallel.internals.pipelining import Stage, runtime
from parallel_ser.parallel.schedule.registry import schedule_of

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Labels
    from parallel_ser.parallel.engine.strategy import Strategy


class Scheduled:
    """Torch's runtime fixes shapes, so each shape of micro-batch has its own."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self._runtimes: dict[object, Any] = {}

    def ready(self) -> None:
        """See ``Passes``."""

    def runtime(self, part: Inputs) -> Any:
        """The runtime for such micro-batches.

        With what passes at both edges given, torch runs no forward pass of its own to find it.
        """
        if part.key not in self._runtimes:
            strategy, stages = self.strategy, self.strategy.stages
            edges = stages.edges(part)
            made = []
            for module, number in zip(strategy.modules, stages.own, strict=True):
                stage = Stage(
                    module,
                    number,
                    len(stages.ranks),
                    strategy.context.device,
                    input_args=tensors(edges[number]),
                    output_args=tensors(edges[number + 1]),
                    group=stages.axis.group,
                )
                stage.stats = strategy.stats
                made.append(stage)
            parts = strategy.settings.microbatches
            orders = schedule_of(strategy.settings.schedule).orders(stages.axis.size, parts)
            self._runtimes[part.key] = runtime(made, orders, parts, strategy.mean_loss)
        return self._runtimes[part.key]

    def gradients(self, inputs: Inputs, labels: Labels) -> Tensor:
        """See ``Passes``."""
        strategy, stages = self.strategy, self.strategy.stages
        parts = list(inputs.split(strategy.settings.microbatches))
        losses: list[Tensor] = []
        self.runtime(parts[0]).step(
            arg_mbs=[tensors(part.x) if stages.first else () for part in parts],
            kwarg_mbs=[part.beside for part in parts],
            target_mbs=split_labels(labels, len(parts)) if stages.last else None,
            losses=losses if stages.last else None,
            return_outputs=False,
        )
        total = torch.zeros((), dtype=strategy.dtype, device=strategy.context.device)
        for loss in losses:
            total = total + loss.detach()
        return stages.axis.broadcast(total, stages.ranks[-1])
