"""Stages on ranks, micro-batches following each other through them: ``torch.distributed.pipelining``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.distributed.pipelining.schedules import PipelineScheduleSingle

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.partition import block_costs, bounds, cut
from parallel_ser.parallel.processes import to_all
from parallel_ser.parallel.strategy import Strategy

SCHEDULES: dict[str, type[PipelineScheduleSingle]] = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}


@dataclass(frozen=True)
class Edges:
    """Shapes that enter and leave this rank's stage, and those of the logits, for one shape of micro-batch."""

    enters: tuple[int, ...]
    leaves: tuple[int, ...]
    logits: tuple[int, ...]


class Pipeline(Strategy):
    """Each rank holds consecutive blocks; torch's schedules fix a shape, so each shape of batch has its own."""

    def place(self, chain: Chain, shape: tuple[int, ...]) -> Chain:
        """The blocks of this rank's stage, cut by hand or by arithmetic."""
        size, rank = self.mesh.size, self.mesh.rank
        cuts = self.settings.stages or cut(block_costs(chain, shape), size)
        self.start, self.stop = bounds(cuts, self.blocks)[rank]
        self.reads_inputs = rank == 0
        self.last = rank == size - 1
        self._whole = chain.skeleton()  # asked for the shapes at this stage's edges
        self._edges: dict[tuple[int, ...], Edges] = {}
        self._schedules: dict[tuple[int, ...], PipelineScheduleSingle] = {}
        return chain.part(self.start, self.stop)

    def edges(self, shape: tuple[int, ...]) -> Edges:
        """What enters and leaves this stage when the chain is given an input of ``shape``."""
        if shape not in self._edges:
            shapes = self._whole.shapes(shape)
            self._edges[shape] = Edges(shapes[self.start], shapes[self.stop], shapes[-1])
        return self._edges[shape]

    def schedule(self, shape: tuple[int, ...]) -> PipelineScheduleSingle:
        """The schedule for micro-batches of ``shape``.

        With the shapes at both edges given, torch runs no forward pass of its own to find them. ``scale_grads`` would
        divide gradients that accumulate over steps again at each of them: the loss is divided instead.
        """
        if shape not in self._schedules:
            edges = self.edges(shape)
            stage = PipelineStage(
                self.module,
                self.mesh.rank,
                self.mesh.size,
                self.mesh.device,
                input_args=torch.empty(edges.enters, dtype=self.dtype, device="meta"),
                output_args=torch.empty(edges.leaves, dtype=self.dtype, device="meta"),
            )
            self._schedules[shape] = SCHEDULES[self.settings.schedule](
                stage, self.settings.microbatches, loss_fn=self.mean_loss, scale_grads=False
            )
        return self._schedules[shape]

    def gradients(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """See the contract."""
        micro = (len(inputs) // self.settings.microbatches, *inputs.x.shape[1:])
        losses: list[Tensor] = []
        self.schedule(micro).step(
            *((inputs.x,) if self.reads_inputs else ()),
            target=targets if self.last else None,
            losses=losses if self.last else None,
            return_outputs=False,
            valid=inputs.valid,
            seed=inputs.seed,
        )
        total = torch.zeros((), dtype=self.dtype, device=self.mesh.device)
        for loss in losses:
            total = total + loss.detach()
        return to_all(total, self.mesh.size - 1, self.mesh.size)

    def logits(self, inputs: Inputs) -> Tensor:
        """See the contract. A forward pass of our own: torch's ``eval`` disturbs training and wants even batches."""
        sends = []
        outputs = []
        for part in inputs.split(self.settings.microbatches):
            edges = self.edges((len(part), *part.x.shape[1:]))
            x = part.x
            if not self.reads_inputs:
                x = torch.empty(edges.enters, dtype=self.dtype, device=self.mesh.device)
                dist.recv(x, self.mesh.rank - 1)
            y = self.module(x, part.valid, part.seed).contiguous()
            if self.last:
                outputs.append(y)
            else:  # the tensor is kept until it is sent
                sends.append((dist.isend(y, self.mesh.rank + 1), y))
                outputs.append(torch.empty(edges.logits, dtype=self.dtype, device=self.mesh.device))
        for work, _ in sends:
            if work is not None:
                work.wait()
        return to_all(torch.cat(outputs), self.mesh.size - 1, self.mesh.size)
