"""Interleaved 1F1B with split backward passes."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Orders, one_f_one_b, round_robin_stages, with_weights
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int, per_rank: int = 2) -> Orders:
    """Interleaved 1F1B whose backward passes are split: the gradient that others wait for comes first.

    After ZB-H1 of Qi et al. 2023 (arXiv:2401.10241). Rank ``r`` computes weight gradients ``r`` input gradients late.

        rank 0  0 1 2 0 1 2 . . 0'0"3 1'1"4 2'2"5 0'0"3 1'1"4 2'2"5 3'3"4'4"5'5"3'3"4'4"5'5"
        rank 1  . 0 1 2 0 1 . 0'2 1'0"3 2'1"4 0'2"5 1'0"3 2'1"4 3'2"5 4'3"5'4"3'5"4'3"5'4"5"
        rank 2  . . 0 1 2 0 0'1 1'2 2'0"3 0'1"4 1'2"5 2'0"3 3'1"4 4'2"5 5'3"3'4"4'5"5'3"4"5"
    """
    orders = []
    for rank in range(ranks):
        forward, backward, length = round_robin_stages(rank, ranks, microbatches, per_rank, "I")
        order = one_f_one_b(forward, backward, ahead=(per_rank - 1) * length + ranks - 1 - rank)
        orders.append(with_weights(order, late=rank))
    return orders


SCHEDULE = Schedule(
    name="interleavedzb",
    rank=5,
    orders=orders,
    summary="interleaved 1F1B with split backward passes",
    source="after ZB-H1 of Qi et al. 2023, arXiv:2401.10241",
    per_rank=2,
    rounds=True,
    overhead=lambda ranks, parts: (ranks - 1) / (6 * parts),
    in_flight=lambda ranks, parts, rank: min(parts, ranks),
)
