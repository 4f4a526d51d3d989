"""Stages on ranks, micro-batches following each other through them: ``torch.distributed.pipelining``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.internals.pipelining import Stage, runtime
from parallel_ser.parallel.schedule.registry import schedule_of
from parallel_ser.parallel.stages import Staged


class Pipeline(Staged):
    """Each rank holds stages; torch's schedules fix a shape, so each shape of micro-batch has its own schedule."""

    @property
    def splits_backward(self) -> bool:  # type: ignore[override]
        """Under a zero-bubble schedule."""
        return schedule_of(self.settings.schedule).splits_backward

    def split(self, part: Chain) -> Chain:
        """As always; a schedule that computes weights' gradients later needs normalisations that allow it."""
        part = super().split(part)
        for module in part.modules():
            if hasattr(module, "apart"):
                module.apart = self.splits_backward  # type: ignore[assignment]
        return part

    def wrap(self) -> None:
        """See ``Strategy``; a backward pass in halves loses what lies behind an input without a gradient."""
        super().wrap()
        for module in self.modules:
            module.differentiable = self.splits_backward

    def trains(self, boundary: int) -> bool:
        """See ``Staged``."""
        return boundary > 0 if self.splits_backward else super().trains(boundary)

    def schedule(self, shape: tuple[int, ...]) -> Any:
        """The schedule for micro-batches of ``shape``.

        With the shapes at both edges given, torch runs no forward pass of its own to find them.
        """
        if not hasattr(self, "_schedules"):
            self._schedules: dict[tuple[int, ...], Any] = {}
        if shape not in self._schedules:
            shapes = self.shapes(shape)
            stages = []
            for module, number in zip(self.modules, self.own):
                enters, leaves = (
                    torch.empty(shapes[edge], dtype=self.passes(edge), device="meta", requires_grad=self.trains(edge))
                    for edge in (number, number + 1)
                )
                stage = Stage(
                    module,
                    number,
                    len(self.ranks),
                    self.mesh.device,
                    input_args=enters,
                    output_args=leaves,
                    group=self.grid.pipeline.group,
                )
                stage.meter = self.meter
                stages.append(stage)
            parts = self.settings.microbatches
            orders = schedule_of(self.settings.schedule).orders(self.grid.pipeline.size, parts)
            self._schedules[shape] = runtime(stages, orders, parts, self.mean_loss)
        return self._schedules[shape]

    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """See the contract."""
        parts = list(inputs.split(self.settings.microbatches))
        losses: list[Tensor] = []
        self.schedule(tuple(parts[0].x.shape)).step(
            arg_mbs=[(part.x,) if self.reads_inputs else () for part in parts],
            kwarg_mbs=[{"valid": part.valid, "seed": part.seed} for part in parts],
            target_mbs=list(targets.chunk(len(parts))) if self.last else None,
            losses=losses if self.last else None,
            return_outputs=False,
        )
        total = torch.zeros((), dtype=self.dtype, device=self.mesh.device)
        for loss in losses:
            total = total + loss.detach()
        return self.grid.pipeline.broadcast(total, self.ranks[-1])
