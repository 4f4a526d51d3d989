"""Stages on ranks, micro-batches following each other through them: ``torch.distributed.pipelining``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleDualPipeV,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleLoopedBFS,
    ScheduleZBVZeroBubble,
)

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.batch import Inputs
from parallel_ser.parallel.messages import timed
from parallel_ser.parallel.meter import Meter
from parallel_ser.parallel.stages import Staged

SCHEDULES: dict[str, Callable[..., Any]] = {
    "gpipe": ScheduleGPipe,
    "1f1b": Schedule1F1B,
    "interleaved1f1b": ScheduleInterleaved1F1B,
    "loopedbfs": ScheduleLoopedBFS,
    "interleavedzb": ScheduleInterleavedZeroBubble,
    "zbv": ScheduleZBVZeroBubble,
    "dualpipev": ScheduleDualPipeV,
}

ZERO_BUBBLE = ("interleavedzb", "zbv", "dualpipev")
META = torch.device("meta")


class Stage(PipelineStage):
    """Torch's stage, timed, and what it sends counted, with two changes.

    Where two neighbouring stages share a rank, it greets no one: torch's greeting would send from such a rank to
    itself, which gloo cannot do ("Pair is not connected").

    Torch keeps, from the first step on, a buffer for each micro-batch that it receives, and one for each gradient. Here
    a buffer is made when its message is awaited, and let go when it was computed with: before and after it is a tensor
    on the meta device.
    """

    meter: Meter

    def _get_init_p2p_neighbors_ops(self) -> list[dist.P2POp]:
        """What torch sends before the first step, without what this rank would send to itself."""
        return [op for op in super()._get_init_p2p_neighbors_ops() if op.group_peer != self.group_rank]

    def _prepare_forward_infra(self, *given: Any) -> Any:
        """As torch does, with buffers that are only shapes."""
        with self._shapes_alone():
            return super()._prepare_forward_infra(*given)

    def _prepare_backward_infra(self, num_microbatches: int) -> None:
        """As torch does, with buffers that are only shapes."""
        with self._shapes_alone():
            super()._prepare_backward_infra(num_microbatches)

    @contextmanager
    def _shapes_alone(self) -> Iterator[None]:
        place, self.device = self.device, META
        try:
            yield
        finally:
            self.device = place

    def _move(self, infos: Iterable[Any], device: torch.device) -> None:
        """Put new, empty buffers of the same shapes in place of those that there are."""
        for info in infos:
            if hasattr(info, "buffer"):  # the first stage's inputs have none
                wanted = info.buffer.requires_grad
                info.buffer = torch.empty_like(info.buffer, device=device, requires_grad=wanted)

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        """See torch."""
        with self.meter.span("forward", detail=self._detail(fwd_chunk_id)):
            output = super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        self._move(self.args_recv_info[fwd_chunk_id], META)
        return output

    def backward_one_chunk(
        self, bwd_chunk_id: int, loss: Any = None, full_backward: bool = True, last_backward: bool = False
    ) -> Any:
        """See torch."""
        with self.meter.span("backward" if full_backward else "input", detail=self._detail(bwd_chunk_id)):
            super().backward_one_chunk(bwd_chunk_id, loss, full_backward, last_backward)
        self._move(self.grad_recv_info[bwd_chunk_id], META)

    def backward_weight_one_chunk(self, bwd_chunk_id: int, last_backward: bool = False) -> Any:
        """See torch."""
        with self.meter.span("weight", detail=self._detail(bwd_chunk_id)):
            return super().backward_weight_one_chunk(bwd_chunk_id, last_backward)

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        self._move(self.args_recv_info[fwd_chunk_id], self.device)
        return [timed(op, self.meter) for op in super().get_fwd_recv_ops(fwd_chunk_id)]

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        self._move(self.grad_recv_info[bwd_chunk_id], self.device)
        return [timed(op, self.meter) for op in super().get_bwd_recv_ops(bwd_chunk_id)]

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        return [timed(op, self.meter) for op in super().get_fwd_send_ops(fwd_chunk_id)]

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        return [timed(op, self.meter) for op in super().get_bwd_send_ops(bwd_chunk_id)]

    def _detail(self, chunk: int) -> str:
        return f"stage {self.stage_index}, micro-batch {chunk}"


class Pipeline(Staged):
    """Each rank holds stages; torch's schedules fix a shape, so each shape of micro-batch has its own schedule."""

    def split(self, part: Chain) -> Chain:
        """As always; a schedule that computes weights' gradients later needs normalisations that allow it."""
        part = super().split(part)
        for module in part.modules():
            if hasattr(module, "apart"):
                module.apart = self.settings.schedule in ZERO_BUBBLE  # type: ignore[assignment]
        return part

    def schedule(self, shape: tuple[int, ...]) -> Any:
        """The schedule for micro-batches of ``shape``.

        With the shapes at both edges given, torch runs no forward pass of its own to find them. ``scale_grads`` would
        divide gradients that accumulate over steps again at each of them: the loss is divided instead.
        """
        if not hasattr(self, "_schedules"):
            self._schedules: dict[tuple[int, ...], Any] = {}
        if shape not in self._schedules:
            shapes = self.shapes(shape)
            stages = []
            for module, number in zip(self.modules, self.own):
                enters, leaves = (
                    torch.empty(shapes[edge], dtype=self.passes(edge), device="meta") for edge in (number, number + 1)
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
            kind = SCHEDULES[self.settings.schedule]
            several = self.settings.schedule not in ("gpipe", "1f1b")
            self._schedules[shape] = kind(
                stages if several else stages[0],
                self.settings.microbatches,
                loss_fn=self.mean_loss,
                scale_grads=False,
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
        return self.grid.pipeline.broadcast(total, self.ranks[-1])
