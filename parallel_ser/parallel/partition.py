"""Cutting a chain into stages of consecutive blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch.utils.flop_counter import FlopCounterMode

from parallel_ser.models.chain import Chain, example


def block_costs(chain: Chain, shape: Sequence[int]) -> list[float]:
    """Arithmetic of each block for an input of ``shape``, in floating-point operations of the forward pass.

    Counted on the meta device, so nothing is computed and every rank gets the same answer.
    """
    x, valid, seed = example(shape, next(chain.parameters()).dtype)
    costs = []
    with torch.no_grad():
        for block in chain.skeleton():
            with FlopCounterMode(display=False) as counter:
                x = block(x, valid, seed)
            costs.append(float(counter.get_total_flops()) + x.numel())
    return costs


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
        ours, theirs = ((one.rank, one.stage, *one.costs, *one.held) for one in (self, other))
        return all(mine <= its for mine, its in zip(ours, theirs))


def cut(costs: Sequence[float], ranks: Sequence[int], memory: Memory | None = None) -> tuple[int, ...]:
    """The cut points that make the costliest rank and the costliest stage together as cheap as can be, exactly.

    A step is about as many times the costliest rank as there are micro-batches, while the pipeline fills and empties at
    the pace of the costliest stage. With one stage a rank they are the same. With several neither alone will do: even
    ranks of uneven stages wait for each other, as the orders of torch's interleaved schedules are fixed.

    By dynamic programming: for each number of stages and blocks those ways are kept that no other beats, in the two and
    in the cost and the bytes of every rank that has a stage to come. With one stage a rank that is a single way.

    >>> cut([1, 1, 1, 1], [0, 1])
    (2,)
    >>> cut([4, 2, 2, 1, 1, 1, 1], [0, 1, 1, 0])  # there and back: stages of 4, 2, 4 and 2
    (1, 2, 5)

    Args:
        costs: of the blocks, in order.
        ranks: the rank of each stage, which may hold several; no stage is empty.
        memory: what the stages of a rank may take.

    Returns:
        Rising indices, each of the block that opens the next stage.

    Raises:
        ValueError: there are fewer blocks than stages, or no cut keeps every rank within its memory.
    """
    count, stages = len(costs), len(ranks)
    if not 1 <= stages <= count:
        raise ValueError(f"{count} blocks cannot make {stages} stages")
    total = [0.0, *accumulate(costs)]
    nothing = (0.0,) * (max(ranks) + 1)
    ways: dict[int, list[_Way]] = {0: [_Way(0.0, 0.0, nothing, nothing, ())]}
    for stage, rank in enumerate(ranks):
        further: dict[int, list[_Way]] = {}
        last, returns = stage == stages - 1, rank in ranks[stage + 1 :]
        for stop in (count,) if last else range(stage + 1, count - (stages - stage - 1) + 1):
            found = []
            for start, before in ways.items():
                if start >= stop:
                    continue
                size = memory.bytes_of(stage, start, stop) if memory else 0.0
                own = total[stop] - total[start]
                for way in before:
                    held, cost = way.held[rank] + size, way.costs[rank] + own
                    if memory and held > memory.limit:
                        continue
                    found.append(
                        _Way(
                            max(way.rank, cost),
                            max(way.stage, own),
                            _with(way.costs, rank, cost if returns else 0.0),
                            _with(way.held, rank, held if returns else 0.0),
                            (*way.cuts, start) if stage else (),
                        )
                    )
            further[stop] = _best(found)
        ways = further
    if not ways[count]:
        limit = memory.limit if memory else 0.0
        raise ValueError(f"no cut into {stages} stages keeps every rank within {limit:.0f} bytes")
    return ways[count][0].cuts


def _with(values: tuple[float, ...], place: int, value: float) -> tuple[float, ...]:
    return (*values[:place], value, *values[place + 1 :])


def _best(ways: list[_Way]) -> list[_Way]:
    """Those that no other beats, the cheapest first."""
    kept: list[_Way] = []
    for way in sorted(ways, key=lambda way: (way.rank + way.stage, way.cuts)):
        if not any(other.beats(way) for other in kept):
            kept.append(way)
    return kept


def bounds(cuts: Sequence[int], count: int) -> list[tuple[int, int]]:
    """First block and one past the last block of each stage."""
    edges = [0, *cuts, count]
    return list(pairwise(edges))
