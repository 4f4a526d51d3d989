"""Interleaved 1F1B."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Orders, one_f_one_b, round_robin_stages
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int, per_rank: int = 2) -> Orders:
    """1F1B over several stages a rank, so that the pipeline fills sooner (Narayanan et al. 2021, arXiv:2104.04473).

    Micro-batches go in rounds of about as many as there are ranks, and a round passes a rank's stages one by one.

        rank 0  0 1 2 0 1 2 3 4 . . 0'0'5 1'1'3 2'2'4 0'0'5 1'1'. 2'2'. 3'3'. 4'4'. 5'5'3'3'4'4'5'5'
        rank 1  . 0 1 2 0 1 2 . 0'0'3 1'1'4 2'2'5 0'0'3 1'1'4 2'2'5 3'3'. 4'4'. 5'5'3'3'4'4'5'5'. .
        rank 2  . . 0 1 2 0 0'0'1 1'1'2 2'2'3 0'0'4 1'1'5 2'2'3 3'3'4 4'4'5 5'5'3'3'4'4'5'5'. . . .
    """
    orders = []
    for rank in range(ranks):
        forward, backward, length = round_robin_stages(rank, ranks, microbatches, per_rank, "B")
        orders.append(one_f_one_b(forward, backward, ahead=(per_rank - 1) * length + 2 * (ranks - 1 - rank)))
    return orders


SCHEDULE = Schedule(
    name="interleaved1f1b",
    rank=3,
    orders=orders,
    summary="1F1B over two stages a rank",
    source="Narayanan et al. 2021, arXiv:2104.04473",
    per_rank=2,
    rounds=True,
    overhead=lambda ranks, parts: (ranks - 1) / (2 * parts),
    in_flight=lambda ranks, parts, rank: min(parts, ranks + (ranks - 1 - 2 * rank) / 2),
)
