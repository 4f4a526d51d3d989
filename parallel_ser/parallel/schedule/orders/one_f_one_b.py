"""1F1B."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Action, Orders, one_f_one_b
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int) -> Orders:
    """A forward and a backward pass in turn once the pipeline is full (PipeDream-flush, arXiv:2006.09503).

    As long as GPipe, but rank ``r`` holds the activations of no more than ``ranks - r`` micro-batches.

        rank 0  0 1 2 . . . . 0'0'3 1'1'. 2'2'. 3'3'
        rank 1  . 0 1 . . 0'0'2 1'1'3 2'2'. 3'3'. .
        rank 2  . . 0 0'0'1 1'1'2 2'2'3 3'3'. . . .
    """
    orders = []
    for rank in range(ranks):
        forward = [Action("F", rank, micro) for micro in range(microbatches)]
        backward = [Action("B", rank, micro) for micro in range(microbatches)]
        orders.append(one_f_one_b(forward, backward, ahead=ranks - 1 - rank))
    return orders


SCHEDULE = Schedule(
    name="1f1b",
    rank=2,
    orders=orders,
    summary="a forward and a backward pass in turn",
    source="PipeDream-flush, arXiv:2006.09503",
    least=lambda ranks: ranks,
    overhead=lambda ranks, parts: (ranks - 1) / parts,
    in_flight=lambda ranks, parts, rank: min(parts, ranks - rank),
)
