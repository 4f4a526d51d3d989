"""DualPipeV."""

from __future__ import annotations

from parallel_ser.parallel.schedule.actions import Orders, ScheduleBuilder
from parallel_ser.parallel.schedule.descriptor import Schedule


def orders(ranks: int, microbatches: int) -> Orders:
    """StageModule as ZB-V; in the middle a forward pass of one stage goes with a backward pass of the other.

    After DualPipe of DeepSeek (arXiv:2412.19437). The two of a pair are one after the other here.

        rank 0  0 1 2 3 4 0 0'0"1 1'1"2 5 2'2'3 0'0'3'3'4 . 1'1'4'4'5 . 2'2'5'5'3'3"4'4"5'5"
        rank 1  . 0 1 2 0 3 1 0'0"2 4 1'1'3 0'0'5 2'2'4 1'1'3'3'5 . 2'2'4'4'3'3'5'4'5"5'4"5"
        rank 2  . . 0 0 1 1 2 2 3 0'0'3 0'0'4 1'1'4 1'1'5 2'2'5 2'2'3'3'3'3'4'4'4'5'5'4"5"5"

    Raises:
        ValueError: fewer micro-batches than stages.
    """
    if microbatches < 2 * ranks:
        raise ValueError(f"dualpipev needs as many micro-batches as stages: {2 * ranks}, not {microbatches}")
    orders = []
    for rank in range(ranks):
        there, back = rank, 2 * ranks - 1 - rank
        after = ranks - 1 - rank  # ranks behind this one
        todo = ScheduleBuilder()
        todo.add("F", there, times=2 * after)
        for _ in range(rank + 1):
            todo.add("F", there)
            todo.add("F", back)
        for _ in range(after):
            todo.add("IWF", back)
        for _ in range(microbatches - 2 * ranks + rank + 1):
            todo.add("F", there)
            todo.add("BF", back)
            todo.add("B", there)
        for _ in range(after):
            todo.add("BF", back)
            todo.add("B", there)
        closing = [back, there] * (rank + 1)
        whole, split = closing[: rank + 1], closing[rank + 1 :]
        for stage in whole:
            todo.add("B", stage)
        for stage in split:
            todo.add("I", stage)
        split += [there] * after  # whose weights' gradients come in the order of their inputs'
        for stage in split[:after]:
            todo.add("W", stage)
            todo.add("I", there)
        for stage in split[after:]:
            todo.add("W", stage)
        orders.append(todo.actions)
    return orders


SCHEDULE = Schedule(
    name="dualpipev",
    rank=7,
    orders=orders,
    summary="as ZB-V, a forward with a backward pass in the middle",
    source="after DualPipe of DeepSeek, arXiv:2412.19437",
    per_rank=2,
    v_shaped=True,
    least=lambda ranks: 2 * ranks,
    overhead=lambda ranks, parts: (ranks - 1) / (6 * parts),
    in_flight=lambda ranks, parts, rank: min(parts, ranks + 0.5),
)
