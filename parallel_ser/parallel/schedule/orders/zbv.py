"""ZB-V."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Orders, ScheduleBuilder
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int) -> Orders:
    """Two stages a rank, placed there and back, and split backward passes.

    ZB-V of Qi et al. 2023 (arXiv:2401.10241), section 6. The rank that begins a forward pass also ends it, so gradients
    soon come back. With fewer than ``2 ranks - 1`` micro-batches the order is that for so many, less those not there.

        rank 0  0 1 2 3 4 0 0'0"1 1'1"2 2'2"5 0'0"3 3'3"1'1"4 4'4"2'2"5 5'5"3'3"4'4"5'5". .
        rank 1  . 0 1 2 0 3 1 0'0"2 1'1"4 0'0"3 2'2"5 1'1"4 3'3"2'2"5 4'4"3'5'4'3"5'4"5"5".
        rank 2  . . 0 0 1 1 2 2 0'0"3 0'0"3 1'1"4 1'1"4 2'2"5 2'2"5 3'3"3'4'4'5'5'3"4"5"4"5"
    """
    orders = []
    for rank in range(ranks):
        there, back = rank, 2 * ranks - 1 - rank
        full = max(2 * ranks - 1, microbatches)
        todo = ScheduleBuilder()
        todo.add("F", there, times=2 * (ranks - rank) - 1)
        for _ in range(rank):
            todo.add("F", back)
            todo.add("F", there)
        for _ in range(ranks - rank):
            todo.add("FIW", back)
        for _ in range(full - ranks):
            if todo.count("F", there) < full:
                todo.add("F", there)
            todo.add("IW", there)
            todo.add("FIW", back)
        for _ in range(rank):
            todo.add("I", there)
            todo.add("I", back)
        for _ in range(ranks - rank):
            todo.add("IW", there)
        todo.add("W", back, times=rank)
        todo.add("W", there, times=rank)
        orders.append([action for action in todo.actions if action.microbatch < microbatches])
    return orders


SCHEDULE = Schedule(
    name="zbv",
    rank=6,
    orders=orders,
    summary="two stages a rank, there and back, with split backward passes",
    source="ZB-V of Qi et al. 2023, arXiv:2401.10241",
    per_rank=2,
    v_shaped=True,
    overhead=lambda ranks, parts: (ranks - 1) / (6 * parts),
    in_flight=lambda ranks, parts, rank: min(parts, ranks),
)
