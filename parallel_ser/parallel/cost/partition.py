"""Cutting a chain into stages of consecutive blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch.utils.flop_counter import FlopCounterMode

from parallel_ser.models.batch import Activations, Inputs, example, tensors
from parallel_ser.models.chain import Chain, call

FEW = 4
"""Ways that are kept for each number of blocks and stages, to find a good cut soon."""
WORK = 1 << 15
"""Ways that are kept in all."""


def block_costs(chain: Chain, given: Sequence[int] | Inputs) -> list[float]:
    """Arithmetic of each block for such inputs, in floating-point operations of the forward pass.

    Counted on the meta device, so nothing is computed and every rank gets the same answer.
    """
    inputs = example(given, next(chain.parameters()).dtype, "meta")
    costs, x = [], inputs.x
    alike: dict[object, tuple[float, Activations]] = {}
    with torch.no_grad():
        for block in chain.skeleton():
            kind = kind_of(block, x)
            if kind not in alike:
                with FlopCounterMode(display=False) as counter:
                    y = call(block, x, inputs.beside)
                alike[kind] = float(counter.get_total_flops()) + sum(one.numel() for one in tensors(y)), y
            cost, x = alike[kind]
            costs.append(cost)
    return costs


def kind_of(block: torch.nn.Module, x: Activations) -> object:
    """What two blocks have in common that cost the same: type, modules, what is trained of them, and what enters."""
    parameters = tuple((name, p.shape, p.requires_grad) for name, p in block.named_parameters())
    return type(block), str(block), parameters, tuple((one.shape, one.dtype) for one in tensors(x))


@dataclass(frozen=True)
class Memory:
    """A limit on what the stages of each rank may take together.

    Attributes:
        limit: bytes a rank.
        bytes_of: of a stage, by its number, first block and one past its last.
    """

    limit: float
    bytes_of: Callable[[int, int, int], float]


@dataclass(frozen=True)
class _Way:
    """A way to cut the first blocks.

    Attributes:
        rank: the cost of the costliest rank.
        stage: the cost of the costliest stage.
        costs: of each rank that has a stage to come; 0 for the others, of which nothing more need be known.
        held: bytes of those ranks, likewise.
        cuts: where stages open.
    """

    rank: float
    stage: float
    costs: tuple[float, ...]
    held: tuple[float, ...]
    cuts: tuple[int, ...]

    def beats(self, other: _Way) -> bool:
        """Whether it is no worse in anything."""
        if self.rank > other.rank or self.stage > other.stage:
            return False
        ours, theirs = (*self.costs, *self.held), (*other.costs, *other.held)
        return all(mine <= its for mine, its in zip(ours, theirs, strict=True))


def partition(
    costs: Sequence[float],
    ranks: Sequence[int],
    memory: Memory | None = None,
    slowness: Sequence[float] | None = None,
    passing: Callable[[int, int], float] | None = None,
) -> tuple[int, ...]:
    """The cut points that make the costliest rank and the costliest stage together as cheap as can be.

    A step is about as many times the costliest rank as there are micro-batches, while the pipeline fills and empties at
    the pace of the costliest stage. With one stage a rank they are the same. With several neither alone will do: even
    ranks of uneven stages wait for each other, as the orders of interleaved schedules are fixed.

    By dynamic programming: for each number of stages and blocks those ways are kept that no other beats, in the two and
    in the cost and the bytes of every rank that has a stage to come, and that could still be cheaper than the best cut
    known. With one stage a rank that is a single way, and the cut is exact. With several it is exact as long as a table
    of ``WORK`` ways holds them, which it does for 40 blocks on 4 ranks; beyond that the most promising are kept.

    >>> partition([1, 1, 1, 1], [0, 1])
    (2,)
    >>> partition([4, 2, 2, 1, 1, 1, 1], [0, 1, 1, 0])  # there and back: stages of 4, 2, 4 and 2
    (1, 2, 5)
    >>> partition([1, 1, 1, 1, 1, 1], [0, 1], slowness=[1, 2])  # the second takes twice as long for each
    (4,)
    >>> partition([1, 1, 1, 1], [0, 1], passing=lambda stage, stop: 9 - 2 * stop)  # less passes later on
    (3,)

    Args:
        costs: of the blocks, in order.
        ranks: the rank of each stage, which may hold several; no stage is empty.
        memory: what the stages of a rank may take.
        slowness: how many times as long each rank takes, above 0; by default they are alike.
        passing: what passes from a stage to the next costs, by the stage's number and one past its last block; it is
            on its way while both compute, so that it counts as another stage would.

    Returns:
        Rising indices, each of the block that opens the next stage.

    Raises:
        ValueError: there are fewer blocks than stages, or no cut keeps every rank within its memory.
    """
    count, stages = len(costs), len(ranks)
    if not 1 <= stages <= count:
        raise ValueError(f"{count} blocks cannot make {stages} stages")
    best, bound = None, float("inf")
    slow = tuple(slowness or (1.0,) * (max(ranks) + 1))
    for most in (FEW, max(FEW, WORK // (count * stages))):  # the first finds a bound for the second
        found, complete = _cheapest(costs, ranks, slow, memory, passing, most, bound)
        if found:
            best, bound = found, found.rank + found.stage
        if complete:
            break
    if best is None:
        limit = memory.limit if memory else 0.0
        raise ValueError(f"no cut into {stages} stages keeps every rank within {limit:.0f} bytes")
    return best.cuts


def _cheapest(
    costs: Sequence[float],
    ranks: Sequence[int],
    slowness: Sequence[float],
    memory: Memory | None,
    passing: Callable[[int, int], float] | None,
    most: int,
    bound: float,
) -> tuple[_Way | None, bool]:
    """The best way of those that cost no more than ``bound``; and whether no more than ``most`` were kept anywhere."""
    count, complete = len(costs), True
    total = [0.0, *accumulate(costs)]
    largest = [*[*accumulate(reversed(costs), max)][::-1], 0.0]  # of the blocks from each on
    nothing = (0.0,) * (max(ranks) + 1)
    ways: dict[int, list[_Way]] = {0: [_Way(0.0, 0.0, nothing, nothing, ())]}
    for stage, rank in enumerate(ranks):
        further: dict[int, list[_Way]] = {}
        ahead = ranks[stage + 1 :]
        returns, quickest = rank in ahead, min((slowness[one] for one in ahead), default=1.0)
        open_speed, ahead_speed = sum(1 / slowness[one] for one in set(ahead)), sum(1 / slowness[one] for one in ahead)
        for stop in range(stage + 1, count - len(ahead) + 1) if ahead else (count,):
            left = total[count] - total[stop]
            found: list[tuple[float, _Way]] = []
            for start, before in ways.items():
                if start >= stop:
                    continue
                size = memory.bytes_of(stage, start, stop) if memory else 0.0
                own = slowness[rank] * (total[stop] - total[start])
                entering = passing(stage - 1, start) if passing and stage else 0.0
                for way in before:
                    held, cost = way.held[rank] + size, way.costs[rank] + own
                    if memory and held > memory.limit:
                        continue
                    highest, widest = max(way.rank, cost, entering), max(way.stage, own, entering)
                    open_costs = _with(way.costs, rank, cost if returns else 0.0)
                    least = highest + widest  # that it can come to
                    if ahead:
                        work = left + sum(cost / slow for cost, slow in zip(open_costs, slowness, strict=True))
                        least = max(highest, work / open_speed)
                        least += max(widest, quickest * largest[stop], left / ahead_speed)
                    if least <= bound * (1 + 1e-12):
                        open_held = _with(way.held, rank, held if returns else 0.0)
                        cuts = (*way.cuts, start) if stage else ()
                        found.append((least, _Way(highest, widest, open_costs, open_held, cuts)))
            further[stop], whole = _best(found, most)
            complete &= whole
        ways = further
    return min(ways[count], key=lambda way: (way.rank + way.stage, way.cuts), default=None), complete


def _with(values: tuple[float, ...], place: int, value: float) -> tuple[float, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _best(ways: list[tuple[float, _Way]], most: int) -> tuple[list[_Way], bool]:
    """Those that no other beats, the most promising first, and no more than ``most``; and whether that is all."""
    kept: list[_Way] = []
    for _, way in sorted(ways, key=lambda one: (one[0], one[1].cuts)):
        if not any(other.beats(way) for other in kept):
            if len(kept) == most:
                return kept, False
            kept.append(way)
    return kept, True


def stage_slices(cuts: Sequence[int], count: int) -> list[tuple[int, int]]:
    """First block and one past the last block of each stage."""
    edges = [0, *cuts, count]
    return list(pairwise(edges))
