"""A stage of torch's pipeline, by hand: what it keeps, and when."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.parallel.messages import timed
from parallel_ser.parallel.meter import Meter
from parallel_ser.parallel.pipeline import Stage
from parallel_ser.parallel.processes import mesh

SHAPE = (2, 3)


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with mesh("cpu", threads=torch.get_num_threads()):
        yield


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def middle() -> Stage:
    edge = torch.empty(SHAPE, device="meta")
    stage = Stage(Doubled(), 1, 3, torch.device("cpu"), input_args=edge, output_args=edge)
    stage.meter, stage.has_backward = Meter(), True
    stage._prepare_forward_infra(4, ())
    stage._prepare_backward_infra(4)
    return stage


def test_a_stage_has_buffers_only_for_messages_that_it_awaits_or_computes_with() -> None:
    stage = middle()
    infos = [*stage.args_recv_info.values(), *stage.grad_recv_info.values()]

    def real() -> int:
        return sum(not info.buffer.is_meta for (info,) in infos)

    assert real() == 0
    (arriving,) = stage.get_fwd_recv_ops(2)
    assert real() == 1
    arriving.tensor.data.fill_(1.0)
    y = stage.forward_one_chunk(2, ())
    assert torch.equal(y, torch.full(SHAPE, 2.0))
    assert real() == 0
    (returning,) = stage.get_bwd_recv_ops(2)
    assert real() == 1
    returning.tensor.fill_(5.0)
    stage.backward_one_chunk(2)
    assert real() == 0
    assert torch.equal(stage.bwd_cache[2][0], torch.full(SHAPE, 10.0))
    assert all(info.buffer.shape == SHAPE for (info,) in infos)


def test_an_operation_that_is_timed_lets_its_tensor_go() -> None:
    op = timed(dist.P2POp(dist.isend, torch.empty(SHAPE), 0), Meter())
    kept = weakref.ref(op)
    gc.disable()
    try:
        del op
        assert kept() is None
    finally:
        gc.enable()
