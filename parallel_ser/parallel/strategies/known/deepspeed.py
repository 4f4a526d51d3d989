"""Stages on ranks under DeepSpeed's pipeline engine: its 1F1B with blocking sends, and its DualPipeV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parallel_ser.parallel.strategies.descriptor import Layout, Shards, StrategyDescriptor, stages

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.settings import StrategySettings

SCHEDULES = ("1f1b", "dualpipev")


def variants(copies: int) -> dict[str, dict[str, Any]]:
    """Its schedules, and with several copies ZeRO 1."""
    found: dict[str, dict[str, Any]] = {name: {"schedule": name} for name in SCHEDULES}
    return found | ({"1f1b zero 1": {"schedule": "1f1b", "zero": 1}} if copies > 1 else {})


def shards(settings: StrategySettings, layout: Layout) -> Shards:
    """ZeRO 1 spreads the optimizer's state over the copies."""
    return Shards(1, layout.data if settings.zero else 1)


def compose(settings: StrategySettings) -> Pieces:
    """The engine goes through its schedule; under ZeRO it also reduces the gradients and steps the optimizer."""
    from parallel_ser.parallel.engine import deepspeed
    from parallel_ser.parallel.engine.optimizer import OptimizerStep
    from parallel_ser.parallel.engine.pieces import Pieces

    zero = bool(settings.zero)
    return Pieces(
        passes=deepspeed.DeepSpeedPasses,
        gradients=deepspeed.ReducedByEngine if zero else deepspeed.PlainFormat,
        optimizer=deepspeed.SteppedByEngine if zero else OptimizerStep,
        every_edge_differentiable=True,
    )


STRATEGY = StrategyDescriptor(
    name="deepspeed",
    holds="some blocks, under DeepSpeed's 1F1B or DualPipeV",
    sends="activations and their gradients",
    rank=4,
    layout=stages,
    takes=frozenset({"schedule", "stages", "rebalance", "data_parallel", "zero"}),
    schedules=SCHEDULES,
    any_microbatches=lambda settings: settings.schedule == "1f1b",
    variants=variants,
    bench=lambda ranks: {"1f1b, cut by parameters": {"schedule": "1f1b", "cut": "parameters"}},
    words=lambda settings: settings.schedule,
    schedule=lambda settings: settings.schedule,
    shards=shards,
    overhead="action",
    imports=("deepspeed",),
    compose=compose,
)
