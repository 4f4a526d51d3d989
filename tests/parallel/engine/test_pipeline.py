"""A stage of torch's pipeline, alone in a process: what it keeps, and when."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining.schedules import _Action, _add_send_recv, _ComputationType

from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.comm.context import process_context
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.comm.messages import timed
from parallel_ser.parallel.engine.parallelize import parallelize
from parallel_ser.parallel.engine.pieces import Pieces
from parallel_ser.parallel.internals.pipelining import Stage, receives_first, runtime
from parallel_ser.parallel.schedule.actions import Action
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.tracing.stats import CommStats

SHAPE = (2, 3)
MESSAGES = ("SEND", "RECV")


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with process_context("cpu", threads=torch.get_num_threads()):
        yield


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.held: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.held.append(sum(not info.buffer.is_meta for (info,) in self.stage.args_recv_info.values()))  # type: ignore[union-attr, attr-defined]
        return self.scale * x


def test_a_stage_has_buffers_only_for_what_it_awaits_or_computes_with() -> None:
    stages, modules = [], [Scaled(), Scaled()]
    for number, module in enumerate(modules):
        edges = [torch.empty(SHAPE, device="meta", requires_grad=one > 0) for one in (number, number + 1)]
        stage = Stage(module, number, 2, torch.device("cpu"), input_args=edges[0], output_args=edges[1])
        stage.stats = CommStats()
        object.__setattr__(module, "stage", stage)
        stages.append(stage)
    modules[0].held = modules[1].held
    object.__setattr__(modules[0], "stage", stages[1])
    order = []
    for micro in range(3):
        order += [Action("F", 0, micro), Action("F", 1, micro), Action("B", 1, micro), Action("B", 0, micro)]
    inputs = [torch.full(SHAPE, float(micro)) for micro in range(3)]
    losses: list[Tensor] = []
    steps = runtime(stages, [order], 3, lambda y, target: (y - target).sum())
    for _ in range(2):
        steps.step(
            arg_mbs=[(x,) for x in inputs],
            target_mbs=[torch.zeros(SHAPE)] * 3,
            losses=losses,
            return_outputs=False,
        )
    assert [float(loss.detach()) for loss in losses] == [0.0, 24.0, 48.0]
    assert modules[0].scale.grad == modules[1].scale.grad == 2 * (2 * 6 * (0 + 1 + 2))  # two steps
    assert modules[1].held[2:] == [0, 1] * 5  # while a first stage computes, and while a second does
    kept = [*stages[1].args_recv_info.values(), *stages[0].grad_recv_info.values()]
    assert all(info.buffer.is_meta and info.buffer.shape == SHAPE for (info,) in kept)


@pytest.mark.parametrize(("schedule", "loops"), [("1f1b", 1), ("interleaved1f1b", 2)])
def test_receives_are_posted_before_the_sends_beside_them(schedule: str, loops: int) -> None:
    """And each message still meets its own: as many before it in its direction on both sides."""
    ranks, chunks = 4, 8
    orders = {
        rank: [_Action(one.stage, _ComputationType.from_str(one.kind), one.microbatch) for one in order]
        for rank, order in enumerate(actions(schedule, ranks, chunks))
    }
    torchs = _add_send_recv({rank: list(order) for rank, order in orders.items()}, lambda s: s % ranks, ranks * loops)
    ways: dict[tuple[int, int, bool], list[tuple[str, int, int]]] = {}
    for rank, order in torchs.items():
        reordered = receives_first(order)
        names = [one.computation_type.name for one in reordered]
        assert not any(a.startswith("SEND") and b.startswith("RECV") for a, b in pairwise(names))
        assert [one for one, name in zip(reordered, names, strict=True) if name[:4] not in MESSAGES] == orders[rank]
        for one, name in zip(reordered, names, strict=True):
            if name[:4] in MESSAGES:
                sends, forward = name.startswith("SEND"), name.endswith("F")
                sender = one.stage_index if sends else one.stage_index + (-1 if forward else 1)
                receiver = sender + (1 if forward else -1)
                way = (sender % ranks, receiver % ranks, sends)
                ways.setdefault(way, []).append((name[-1], sender, one.microbatch_index))
    assert len(ways) == 4 * (ranks - 1 if loops == 1 else ranks)
    assert all(messages == ways[a, b, not sends] for (a, b, sends), messages in ways.items())


def test_an_operation_that_is_timed_lets_its_tensor_go() -> None:
    op = timed(dist.P2POp(dist.isend, torch.empty(SHAPE), 0), CommStats())
    kept = weakref.ref(op)
    gc.disable()
    try:
        del op
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("splits", [True, False])
def test_the_first_stages_backward_pass_stays_whole_where_others_are_split(splits: bool) -> None:
    """As torch's stage 0 computes it; also of blocks that another strategy has had before."""
    chain = build(ModelSettings(size="s"), 16, 4, 0)
    for one in chain.modules():
        if hasattr(one, "split_weight_grad"):
            one.split_weight_grad = True  # type: ignore[assignment]
    stages = SimpleNamespace(
        own=[0, 1],
        ranks=[0, 0],
        tuples=[False, False],
        parts_of=lambda chain: [chain.part(0, 3), chain.part(3, len(chain))],
        output_dtype=lambda number: torch.float32,
        trains=lambda number: True,
    )
    alone = SimpleNamespace(tensor=Axis(0, 1, None, CommStats()))
    place = SimpleNamespace(device=torch.device("cpu"))
    parallelize(chain, StrategySettings(), place, alone, stages, Pieces(splits_backward=splits), bf16=False)  # type: ignore[arg-type]
    flags = [
        {one.split_weight_grad for one in part.modules() if hasattr(one, "split_weight_grad")}
        for part in stages.parts_of(chain)
    ]
    assert flags == [{False}, {splits}]
