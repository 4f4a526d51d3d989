"""GPipe."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Action, Orders
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int) -> Orders:
    """All forward, then all backward (Huang et al. 2019, arXiv:1811.06965); every activation is held meanwhile.

    rank 0  0 1 2 3 . . . . . . 0'0'1'1'2'2'3'3'
    rank 1  . 0 1 2 3 . . . 0'0'1'1'2'2'3'3'. .
    rank 2  . . 0 1 2 3 0'0'1'1'2'2'3'3'. . . .
    """
    return [
        [Action(kind, rank, micro) for kind in ("F", "B") for micro in range(microbatches)] for rank in range(ranks)
    ]


SCHEDULE = Schedule(
    name="gpipe",
    rank=1,
    orders=orders,
    summary="all forward, then all backward",
    source="Huang et al. 2019, arXiv:1811.06965",
    overhead=lambda ranks, parts: (ranks - 1) / parts,
    in_flight=lambda ranks, parts, rank: parts,
)
