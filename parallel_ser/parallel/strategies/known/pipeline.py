"""Stages on ranks, micro-batches following each other through them, run by ``torch.distributed.pipelining``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from parallel_ser.parallel.schedule.registry import names, schedule_of
from parallel_ser.parallel.strategies.descriptor import StrategyDescriptor, stages

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.settings import StrategySettings


def meshes(ranks: int) -> dict[str, dict[str, Any]]:
    """Rows of the bench that combine it with copies of the model and with a tensor split."""
    if ranks < 4 or ranks % 2:
        return {}
    return {
        "1f1b × data 2": {"schedule": "1f1b", "data_parallel": 2},
        "1f1b × time 2": {"schedule": "1f1b", "tensor_parallel": 2, "axis": "time"},
        "1f1b × channel 2": {"schedule": "1f1b", "tensor_parallel": 2, "axis": "channel"},
    }


def splits_backward(settings: StrategySettings) -> bool:
    """As torch's runtime does where the schedule asks for it."""
    return schedule_of(settings.schedule).splits_backward


def compose(settings: StrategySettings) -> Pieces:
    """Torch's runtime goes through the schedule.

    A backward pass in halves loses what lies behind an input without a gradient: there every edge has one.
    """
    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.engine.scheduled import Scheduled

    split = splits_backward(settings)
    return Pieces(passes=Scheduled, splits_backward=split, every_edge_differentiable=split)


STRATEGY = StrategyDescriptor(
    name="pipeline",
    holds="some blocks, under torch's runtime and any schedule",
    sends="activations and their gradients",
    rank=3,
    layout=stages,
    takes=frozenset({"schedule", "stages", "rebalance", "axis", "tensor_parallel", "data_parallel"}),
    variants=lambda copies: {name: {"schedule": name} for name in names()},
    bench=meshes,
    suites={"memory": ("1f1b", "zbv", "1f1b × channel 2"), "scaling": ("1f1b",)},
    words=lambda settings: Path(settings.schedule).name,
    schedule=lambda settings: settings.schedule,
    overhead="action",
    splits_backward=splits_backward,
    compose=compose,
)
