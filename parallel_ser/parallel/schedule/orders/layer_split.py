"""The layer split: one micro-batch after the other."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Action, Orders
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int) -> Orders:
    """One micro-batch forward through all stages and backward through all; then the next. One rank works at a time.

    rank 0  0 . . . . . . 0'0'1 . . . . . . 1'1'
    rank 1  . 0 . . . 0'0'. . . 1 . . . 1'1'. .
    rank 2  . . 0 0'0'. . . . . . 1 1'1'. . . .
    """
    return [
        [Action(kind, rank, micro) for micro in range(microbatches) for kind in ("F", "B")] for rank in range(ranks)
    ]


SCHEDULE = Schedule(
    name="layer_split",
    rank=0,
    orders=orders,
    summary="one micro-batch through all stages and back; then the next",
    own_strategy=True,
    overhead=lambda ranks, parts: ranks - 1,
    in_flight=lambda ranks, parts, rank: 1.0,
)
