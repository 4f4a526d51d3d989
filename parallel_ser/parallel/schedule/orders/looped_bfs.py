"""Looped breadth-first."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Action, Orders
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int, per_rank: int = 2) -> Orders:
    """GPipe over several stages a rank, one by one (Lamy-Poirier 2022, arXiv:2211.05953); backward all is reversed.

    rank 0  0 1 2 3 0 1 2 3 . . . . . . 3'3'2'2'1'1'0'0'3'3'2'2'1'1'0'0'
    rank 1  . 0 1 2 3 0 1 2 3 . . . 3'3'2'2'1'1'0'0'3'3'2'2'1'1'0'0'. .
    rank 2  . . 0 1 2 3 0 1 2 3 3'3'2'2'1'1'0'0'3'3'2'2'1'1'0'0'. . . .
    """
    orders = []
    for rank in range(ranks):
        stages = range(rank, per_rank * ranks, ranks)
        forward = [Action("F", stage, micro) for stage in stages for micro in range(microbatches)]
        orders.append(forward + [Action("B", stage, micro) for _, stage, micro in reversed(forward)])
    return orders


SCHEDULE = Schedule(
    name="loopedbfs",
    rank=4,
    orders=orders,
    summary="GPipe over two stages a rank",
    source="Lamy-Poirier 2022, arXiv:2211.05953",
    per_rank=2,
    overhead=lambda ranks, parts: (ranks - 1) / (2 * parts),
    in_flight=lambda ranks, parts, rank: parts,
)
