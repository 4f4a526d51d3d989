"""Cutting a chain into stages of consecutive blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch.utils.flop_counter import FlopCounterMode

from parallel_ser.models.chain import Chain, meta_inputs


def block_costs(chain: Chain, shape: Sequence[int]) -> list[float]:
    """Arithmetic of each block for an input of ``shape``, in floating-point operations of the forward pass.

    Counted on the meta device, so nothing is computed and every rank gets the same answer.
    """
    x, valid, seed = meta_inputs(shape, next(chain.parameters()).dtype)
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
        ranks: the rank of each stage, which may hold several.
        limit: bytes a rank.
        bytes_of: of a stage, by its number, first block and one past its last.
    """

    ranks: Sequence[int]
    limit: float
    bytes_of: Callable[[int, int, int], float]


@dataclass(frozen=True)
class _Way:
    """A way to cut the first blocks: its costliest stage, what each rank holds so far, and where stages open."""

    cost: float
    held: tuple[float, ...]
    cuts: tuple[int, ...]

    def beats(self, other: _Way) -> bool:
        """Whether it is no worse in anything."""
        return self.cost <= other.cost and all(ours <= theirs for ours, theirs in zip(self.held, other.held))


def cut(costs: Sequence[float], stages: int, memory: Memory | None = None) -> tuple[int, ...]:
    """The cut points that make the costliest stage as cheap as can be, exactly, by dynamic programming.

    Without a limit one way is kept for each number of stages and blocks. With a limit all are kept that no other beats
    in both its costliest stage and every rank's memory, so that the answer is exact for several stages a rank too.

    Args:
        costs: of the blocks, in order.
        stages: how many; no stage is empty.
        memory: what the stages of a rank may take.

    Returns:
        ``stages - 1`` rising indices, each of the block that opens the next stage.

    Raises:
        ValueError: there are fewer blocks than stages, or no cut keeps every rank within its memory.
    """
    count = len(costs)
    if memory is not None:
        free = cut(costs, stages)
        held: tuple[float, ...] | None = (0.0,) * (max(memory.ranks) + 1)
        for stage, edges in enumerate(bounds(free, count)):
            held = None if held is None else _held(held, memory, stage, *edges)
        if held is not None:
            return free
    if not 1 <= stages <= count:
        raise ValueError(f"{count} blocks cannot make {stages} stages")
    total = [0.0, *accumulate(costs)]
    empty = (0.0,) * (max(memory.ranks) + 1) if memory else ()
    ways: dict[int, list[_Way]] = {0: [_Way(0.0, empty, ())]}
    for stage in range(stages):
        further: dict[int, list[_Way]] = {}
        last = stage == stages - 1
        for stop in (count,) if last else range(stage + 1, count - (stages - stage - 1) + 1):
            found = []
            for start in ways:
                if start >= stop:
                    continue
                for way in ways[start]:
                    held = _held(way.held, memory, stage, start, stop)
                    if held is not None:
                        cost = max(way.cost, total[stop] - total[start])
                        found.append(_Way(cost, held, (*way.cuts, start) if stage else way.cuts))
            further[stop] = _best(found)
        ways = further
    if not ways.get(count):
        raise ValueError(
            f"no cut into {stages} stages keeps every rank within {memory.limit if memory else 0:.0f} bytes"
        )
    return ways[count][0].cuts


def _held(
    before: tuple[float, ...], memory: Memory | None, stage: int, start: int, stop: int
) -> tuple[float, ...] | None:
    """What each rank holds with one stage more, or None where that is too much."""
    if memory is None:
        return before
    rank = memory.ranks[stage]
    now = before[rank] + memory.bytes_of(stage, start, stop)
    if now > memory.limit:
        return None
    # what a rank holds is remembered as long as it has a stage to come
    return (*before[:rank], now if rank in memory.ranks[stage + 1 :] else 0.0, *before[rank + 1 :])


def _best(ways: list[_Way]) -> list[_Way]:
    """Those that no other beats, the cheapest first."""
    kept: list[_Way] = []
    for way in sorted(ways, key=lambda way: (way.cost, way.cuts)):
        if not any(other.beats(way) for other in kept):
            kept.append(way)
    return kept


def bounds(cuts: Sequence[int], count: int) -> list[tuple[int, int]]:
    """First block and one past the last block of each stage."""
    edges = [0, *cuts, count]
    return list(pairwise(edges))
