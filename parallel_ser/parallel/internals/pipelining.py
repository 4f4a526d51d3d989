"""``torch.distributed.pipelining``: a stage that is measured, and a runtime for schedules of our own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight
from torch.distributed.pipelining.schedules import _Action, _ComputationType, _PipelineScheduleRuntime

from parallel_ser.parallel.comm.messages import timed
from parallel_ser.parallel.internals import require_checked
from parallel_ser.parallel.schedule.actions import Orders
from parallel_ser.parallel.tracing.stats import CommStats

__all__ = ["Stage", "receives_first", "runtime", "stage_backward_input", "stage_backward_weight"]

require_checked("torch")

# where a peer is lost it would print the whole schedule, some hundred lines
logging.getLogger("torch.distributed.pipelining.schedules").setLevel(logging.CRITICAL)

META = torch.device("meta")
RECEIVES = (_ComputationType.RECV_F, _ComputationType.RECV_B)
SENDS = (_ComputationType.SEND_F, _ComputationType.SEND_B)


class Stage(PipelineStage):
    """Torch's stage, timed, and what it sends counted.

    Torch keeps a buffer for each micro-batch that it receives, and one for each gradient, from the first step on. Here
    a buffer is made when its message is awaited, and let go when it was computed with: before and after it is a tensor
    on the meta device.
    """

    stats: CommStats
    _trimmed = False

    def _trim(self) -> None:
        """Let go of the buffers that torch made before the first step."""
        if not self._trimmed:
            for info in (*self.args_recv_info.values(), *self.grad_recv_info.values()):
                _move(info, META)
            self._trimmed = True

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        """See torch."""
        self._trim()
        with self.stats.span("forward", detail=self._detail(fwd_chunk_id)):
            output = super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        _move(self.args_recv_info[fwd_chunk_id], META)
        return output

    def backward_one_chunk(
        self, bwd_chunk_id: int, loss: Any = None, full_backward: bool = True, last_backward: bool = False
    ) -> Any:
        """See torch."""
        with self.stats.span("backward" if full_backward else "input", detail=self._detail(bwd_chunk_id)):
            super().backward_one_chunk(bwd_chunk_id, loss, full_backward, last_backward)
        _move(self.grad_recv_info[bwd_chunk_id], META)

    def backward_weight_one_chunk(self, bwd_chunk_id: int, last_backward: bool = False) -> Any:
        """See torch."""
        with self.stats.span("weight", detail=self._detail(bwd_chunk_id)):
            return super().backward_weight_one_chunk(bwd_chunk_id, last_backward)

    def set_local_fwd_input(self, prev_stage_outputs: Any, mb_index: int) -> None:
        """See torch."""
        self._trim()
        super().set_local_fwd_input(prev_stage_outputs, mb_index)

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        self._trim()
        _move(self.args_recv_info[fwd_chunk_id], self.device)
        return [timed(op, self.stats) for op in super().get_fwd_recv_ops(fwd_chunk_id)]

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        _move(self.grad_recv_info[bwd_chunk_id], self.device)
        return [timed(op, self.stats) for op in super().get_bwd_recv_ops(bwd_chunk_id)]

    def get_fwd_send_ops(self, fwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        return [timed(op, self.stats) for op in super().get_fwd_send_ops(fwd_chunk_id)]

    def get_bwd_send_ops(self, bwd_chunk_id: int) -> list[dist.P2POp]:
        """See torch."""
        return [timed(op, self.stats) for op in super().get_bwd_send_ops(bwd_chunk_id)]

    def _detail(self, chunk: int) -> str:
        return f"stage {self.stage_index}, micro-batch {chunk}"


def _move(infos: Iterable[Any], device: torch.device) -> None:
    """Put new, empty buffers of the same shapes in place of those that there are."""
    for info in infos:
        if info.buffer is not None:  # the first stage's inputs have none
            info.buffer = torch.empty_like(info.buffer, device=device, requires_grad=False)


def runtime(stages: Sequence[Stage], orders: Orders, microbatches: int, loss: Callable[[Any, Any], Tensor]) -> Any:
    """Torch's runtime of this rank's stages under ``orders``, the actions of every rank; call its ``step``.

    Gradients are not scaled: ``scale_grads`` would divide those that accumulate over steps again at each of them.
    Receives are posted in the order in which the peer sends; ``defer_pp_recv`` would post them in the order in which
    they are needed, and messages between two ranks are matched by their order alone. On CPUs a receive is posted before
    the sends that stand beside it: gloo tells the peer through the same connection that it may send, behind what is
    already being sent, so that two messages in opposite directions would pass one after the other. NCCL, which does one
    after the other, keeps torch's order.
    """
    made = _PipelineScheduleRuntime(stages, microbatches, loss_fn=loss, scale_grads=False)
    made._prepare_schedule_with_comms(
        {
            rank: [_Action(one.stage, _ComputationType.from_str(one.kind), one.microbatch) for one in order]
            for rank, order in enumerate(orders)
        }
    )
    if stages[0].device.type == "cpu":
        ordered = made.pipeline_order_with_comms
        made.pipeline_order_with_comms = {rank: receives_first(order) for rank, order in ordered.items()}
    return made


def receives_first(order: Iterable[_Action]) -> list[_Action]:
    """The same, with the receives of each run of messages before its sends."""
    runs = (list(run) for _, run in groupby(order, lambda action: action.computation_type in RECEIVES + SENDS))
    return [action for run in runs for action in sorted(run, key=lambda action: action.computation_type in SENDS)]
