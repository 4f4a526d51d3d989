"""Whether blocks of a pipeline should move between stages, from what each rank's work was measured to take. Pure.

slowness of a rank
    its measured work over what the profiles of its blocks say, under the present cut.
best cut
    of ``partition``, where each block costs as many times its profile as the rank is slow.
next cut
    each cut point half of the way to the best, and a block at the least: profiles err, and what half a step shows is
    measured before the next. Where half the way gains too little and all of it does not, all of it.
step
    with another cut, the measured one times what ``simulate`` says of both.

Blocks move where a step becomes shorter by ``MARGIN`` or more, and the steps that are left save more than the move
takes. A cut that was left is not taken again unless a rank has become slower or faster than the others since, by
``CHANGED``: so noise moves nothing back and forth, and the moves of a machine that stays as it is come to an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from parallel_ser.parallel.cost.partition import partition, stage_slices
from parallel_ser.parallel.schedule.actions import Orders
from parallel_ser.parallel.schedule.simulate import Simulation, Times, simulate

if TYPE_CHECKING:
    from parallel_ser.parallel.cost.block_profile import BlockProfile

MARGIN = 0.05
"""Share of a step that a move must gain."""
CHANGED = 1.5
"""How many times as slow a rank must have become, beside the others, for a cut that was left to be looked at again."""
TINY = 1e-9


class Cost(NamedTuple):
    """Seconds of a block for a micro-batch, as in ``BlockProfile``."""

    forward: float
    backward: float
    input: float
    weight: float


@dataclass(frozen=True)
class Pipeline:
    """What does not change with a cut.

    Attributes:
        costs: of the blocks, in order.
        ranks: of the pipeline, by stage.
        orders: the actions of each rank.
    """

    costs: tuple[Cost, ...]
    ranks: tuple[int, ...]
    orders: Orders


class Left(NamedTuple):
    """A cut that was left, and how slow each rank was then."""

    cuts: tuple[int, ...]
    slowness: tuple[float, ...]


class Move(NamedTuple):
    """A change of the cut.

    Attributes:
        cuts: the new ones.
        before: seconds of a step, measured.
        after: seconds of a step, predicted.
        slowness: of each rank.
    """

    cuts: tuple[int, ...]
    before: float
    after: float
    slowness: tuple[float, ...]


def costs_of(blocks: Sequence[BlockProfile], recomputes: bool) -> tuple[Cost, ...]:
    """The blocks' costs, where the backward pass may compute forward again."""
    again = [block.forward if recomputes else 0.0 for block in blocks]
    return tuple(
        Cost(block.forward, block.backward + more, block.input + more, block.weight)
        for block, more in zip(blocks, again, strict=True)
    )


def decide(
    pipeline: Pipeline,
    cuts: tuple[int, ...],
    work: Sequence[float],
    step: float,
    steps: int,
    moving: float,
    left: Sequence[Left] = (),
) -> Move | None:
    """What to change, or None.

    Args:
        pipeline: what is cut.
        cuts: where it is cut now.
        work: seconds of each rank's passes in a step, without its waiting.
        step: seconds of a step.
        steps: that are left.
        moving: seconds that a move takes.
        left: cuts that were left before.
    """
    alike = (1.0,) * len(work)
    expected = _played(pipeline, cuts, alike).busy
    slowness = tuple(max(own, TINY) / max(busy, TINY) for own, busy in zip(work, expected, strict=True))
    best = partition([cost.forward + cost.backward for cost in pipeline.costs], pipeline.ranks, slowness=slowness)
    now = _played(pipeline, cuts, slowness).step
    for cut in (halfway(cuts, best), best):
        if cut == cuts or any(one.cuts == cut and not _changed(one.slowness, slowness) for one in left):
            continue
        after = step * _played(pipeline, cut, slowness).step / now
        gain = step - after
        if gain >= MARGIN * step and gain * steps > moving:
            return Move(cut, step, after, slowness)
    return None


def halfway(cuts: Sequence[int], best: Sequence[int]) -> tuple[int, ...]:
    """Each cut point half of the way to the best, and one block at the least.

    >>> halfway((2, 6), (7, 7))
    (5, 7)
    """
    return tuple(now + _half(then - now) for now, then in zip(cuts, best, strict=True))


def _half(way: int) -> int:
    return (way + 1) // 2 if way > 0 else -((1 - way) // 2)


def _changed(before: Sequence[float], now: Sequence[float]) -> bool:
    """Whether a rank has become slower or faster than the others."""
    ratios = [new / old for new, old in zip(now, before, strict=True)]
    return max(ratios) >= CHANGED * min(ratios)


def _played(pipeline: Pipeline, cuts: Sequence[int], slowness: Sequence[float]) -> Simulation:
    """A step with such cuts, transfers left out."""
    edges = stage_slices(cuts, len(pipeline.costs))

    def stages(field: str) -> list[float]:
        return [
            slowness[rank] * sum(getattr(cost, field) for cost in pipeline.costs[start:stop])
            for rank, (start, stop) in zip(pipeline.ranks, edges, strict=True)
        ]

    forward, backward, of_input, of_weight = (stages(field) for field in Cost._fields)
    of_input[0], of_weight[0] = 0.0, backward[0]  # torch computes no gradient of the features
    return simulate(pipeline.orders, Times(forward, of_input, of_weight, backward))


def described(move: Move, cuts: Sequence[int], count: int) -> str:
    """A line about a move away from ``cuts`` of ``count`` blocks.

    >>> described(Move((5,), 0.412, 0.35, (1.0, 1.0)), (3,), 8)
    'moved blocks 3-4 from stage 1 to 0: 412 → 350 ms a step predicted'
    """
    parts = " and ".join(_moved(_stage_of(cuts, count), _stage_of(move.cuts, count)))
    return f"moved {parts}: {1e3 * move.before:.0f} → {1e3 * move.after:.0f} ms a step predicted"


def _stage_of(cuts: Sequence[int], count: int) -> list[int]:
    """The stage of each block."""
    return [stage for stage, (start, stop) in enumerate(stage_slices(cuts, count)) for _ in range(start, stop)]


def _moved(before: Sequence[int], after: Sequence[int]) -> Iterator[str]:
    """Runs of neighbouring blocks that move alike."""
    for (old, new), group in groupby(range(len(before)), key=lambda block: (before[block], after[block])):
        blocks = list(group)
        if old != new:
            several = f"blocks {blocks[0]}-{blocks[-1]}" if len(blocks) > 1 else f"block {blocks[0]}"
            yield f"{several} from stage {old} to {new}"
