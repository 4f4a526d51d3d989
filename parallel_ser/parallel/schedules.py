"""Schedules as data: what each rank of a pipeline computes, in order. No process, no clock, no torch.

A schedule is a pure function of the ranks and the micro-batches; ``parallel_ser.parallel.simulate`` plays it against
a clock, and torch's runtime runs it (``internals/pipelining.py``). In the diagrams a forward pass, an input gradient
and a weight gradient take one column each:

    0    forward pass of micro-batch 0         0"   gradient of the stage's weights
    0'   backward pass or input gradient       .    nothing to do

Where a rank holds two stages, a number comes up twice: forward in the first and then in the second of them, backward
the other way round.
"""

from __future__ import annotations

from collections.abc import Callable

from parallel_ser.parallel.actions import Action, Orders, Writer, in_turn, rounds_of, with_weights
from parallel_ser.parallel.settings import StrategySettings, stages_per_rank

V_SHAPED = ("zbv", "dualpipev")


def actions(name: str, ranks: int, microbatches: int) -> Orders:
    """What each rank does under a schedule, in order.

    >>> [str(action) for action in actions("1f1b", 2, 2)[1]][:2]
    ['F of micro-batch 0 in stage 1', 'B of micro-batch 0 in stage 1']

    Raises:
        KeyError: no schedule has that name.
        ValueError: the schedule cannot run so many micro-batches on so many ranks; ``requirements.require`` tells a
            user so, with the nearest number that works.
    """
    return SCHEDULES[name](ranks, microbatches)


def placement(schedule: str, ranks: int, per_rank: int) -> list[int]:
    """The rank of each stage: around and around, or there and back for the schedules of V shape.

    >>> placement("interleaved1f1b", 3, 2)
    [0, 1, 2, 0, 1, 2]
    >>> placement("zbv", 3, 2)
    [0, 1, 2, 2, 1, 0]
    """
    there = list(range(ranks))
    if schedule in V_SHAPED:
        return there + there[::-1]
    return there * per_rank


def stage_ranks(settings: StrategySettings, ranks: int) -> list[int]:
    """The rank of each stage of a strategy whose pipeline has so many ranks.

    >>> stage_ranks(StrategySettings(name="pipeline", schedule="zbv"), 2)
    [0, 1, 1, 0]
    >>> stage_ranks(StrategySettings(name="layer_split", schedule="zbv"), 2)  # it has no schedule
    [0, 1]
    """
    several = stages_per_rank(settings)
    return placement(settings.schedule if several > 1 else "", ranks, several)


def layer_split(ranks: int, microbatches: int) -> Orders:
    """One micro-batch forward through all stages and backward through all; then the next. One rank works at a time.

    rank 0  0 . . . . . . 0'0'1 . . . . . . 1'1'
    rank 1  . 0 . . . 0'0'. . . 1 . . . 1'1'. .
    rank 2  . . 0 0'0'. . . . . . 1 1'1'. . . .
    """
    return [
        [Action(kind, rank, micro) for micro in range(microbatches) for kind in ("F", "B")] for rank in range(ranks)
    ]


def gpipe(ranks: int, microbatches: int) -> Orders:
    """All forward, then all backward (Huang et al. 2019, arXiv:1811.06965); every activation is held meanwhile.

    rank 0  0 1 2 3 . . . . . . 0'0'1'1'2'2'3'3'
    rank 1  . 0 1 2 3 . . . 0'0'1'1'2'2'3'3'. .
    rank 2  . . 0 1 2 3 0'0'1'1'2'2'3'3'. . . .
    """
    return [
        [Action(kind, rank, micro) for kind in ("F", "B") for micro in range(microbatches)] for rank in range(ranks)
    ]


def one_forward_one_backward(ranks: int, microbatches: int) -> Orders:
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
        orders.append(in_turn(forward, backward, ahead=ranks - 1 - rank))
    return orders


def interleaved_one_forward_one_backward(ranks: int, microbatches: int, per_rank: int = 2) -> Orders:
    """1F1B over several stages a rank, so that the pipeline fills sooner (Narayanan et al. 2021, arXiv:2104.04473).

    Micro-batches go in rounds of about as many as there are ranks, and a round passes a rank's stages one by one.

        rank 0  0 1 2 0 1 2 3 4 . . 0'0'5 1'1'3 2'2'4 0'0'5 1'1'. 2'2'. 3'3'. 4'4'. 5'5'3'3'4'4'5'5'
        rank 1  . 0 1 2 0 1 2 . 0'0'3 1'1'4 2'2'5 0'0'3 1'1'4 2'2'5 3'3'. 4'4'. 5'5'3'3'4'4'5'5'. .
        rank 2  . . 0 1 2 0 0'0'1 1'1'2 2'2'3 0'0'4 1'1'5 2'2'3 3'3'4 4'4'5 5'5'3'3'4'4'5'5'. . . .
    """
    orders = []
    for rank in range(ranks):
        forward, backward, length = rounds_of(rank, ranks, microbatches, per_rank, "B")
        orders.append(in_turn(forward, backward, ahead=(per_rank - 1) * length + 2 * (ranks - 1 - rank)))
    return orders


def looped_breadth_first(ranks: int, microbatches: int, per_rank: int = 2) -> Orders:
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


def interleaved_zero_bubble(ranks: int, microbatches: int, per_rank: int = 2) -> Orders:
    """Interleaved 1F1B whose backward passes are split: the gradient that others wait for comes first.

    After ZB-H1 of Qi et al. 2023 (arXiv:2401.10241). Rank ``r`` computes weight gradients ``r`` input gradients late.

        rank 0  0 1 2 0 1 2 . . 0'0"3 1'1"4 2'2"5 0'0"3 1'1"4 2'2"5 3'3"4'4"5'5"3'3"4'4"5'5"
        rank 1  . 0 1 2 0 1 . 0'2 1'0"3 2'1"4 0'2"5 1'0"3 2'1"4 3'2"5 4'3"5'4"3'5"4'3"5'4"5"
        rank 2  . . 0 1 2 0 0'1 1'2 2'0"3 0'1"4 1'2"5 2'0"3 3'1"4 4'2"5 5'3"3'4"4'5"5'3"4"5"
    """
    orders = []
    for rank in range(ranks):
        forward, backward, length = rounds_of(rank, ranks, microbatches, per_rank, "I")
        order = in_turn(forward, backward, ahead=(per_rank - 1) * length + ranks - 1 - rank)
        orders.append(with_weights(order, late=rank))
    return orders


def zero_bubble_v(ranks: int, microbatches: int) -> Orders:
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
        todo = Writer()
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


def dual_pipe_v(ranks: int, microbatches: int) -> Orders:
    """Placed as ZB-V; in the middle a forward pass of one stage goes with a backward pass of the other.

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
        todo = Writer()
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


SCHEDULES: dict[str, Callable[[int, int], Orders]] = {
    "layer_split": layer_split,
    "gpipe": gpipe,
    "1f1b": one_forward_one_backward,
    "interleaved1f1b": interleaved_one_forward_one_backward,
    "loopedbfs": looped_breadth_first,
    "interleavedzb": interleaved_zero_bubble,
    "zbv": zero_bubble_v,
    "dualpipev": dual_pipe_v,
}
"""By the names of ``strategy.schedule``, and the layer split, which is a strategy of its own."""
