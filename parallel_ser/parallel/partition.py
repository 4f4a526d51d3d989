"""Cutting a chain into stages of consecutive blocks."""

from __future__ import annotations

from collections.abc import Sequence
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


def cut(costs: Sequence[float], stages: int) -> tuple[int, ...]:
    """The cut points that make the costliest stage as cheap as can be, exactly, by dynamic programming.

    Args:
        costs: of the blocks, in order.
        stages: how many; no stage is empty.

    Returns:
        ``stages - 1`` rising indices, each of the block that opens the next stage.

    Raises:
        ValueError: there are fewer blocks than stages.
    """
    count = len(costs)
    if not 1 <= stages <= count:
        raise ValueError(f"{count} blocks cannot make {stages} stages")
    total = [0.0, *accumulate(costs)]
    # best[k][j]: (cost of the costliest stage, where the last one opens) for the first j blocks in k + 1 stages
    best = [{j: (total[j], 0) for j in range(1, count + 1)}]
    for k in range(1, stages):
        row = {
            j: min((max(best[-1][i][0], total[j] - total[i]), i) for i in range(k, j)) for j in range(k + 1, count + 1)
        }
        best.append(row)
    cuts = []
    end = count
    for row in reversed(best[1:]):
        end = row[end][1]
        cuts.append(end)
    return tuple(reversed(cuts))


def bounds(cuts: Sequence[int], count: int) -> list[tuple[int, int]]:
    """First block and one past the last block of each stage."""
    edges = [0, *cuts, count]
    return list(pairwise(edges))
