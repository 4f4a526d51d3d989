"""The chain: an ordered list of named blocks, each taking one float tensor to one.

Beside the activations every block gets two small facts about the batch, whatever its depth:

``valid`` ``(batch,)``
    the share of each utterance's frames that is real. A share holds at every depth, whatever the strides before it:
    of ``t`` frames the first ``ceil(valid · t)`` are real and the rest is padding, which must not change a result.
``seed`` ``(batch,)``
    an integer per utterance and step, from which a block draws its random numbers. So the draws do not depend on
    which process computes the block, or on how the batch is cut into micro-batches.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """One named link of a chain; what a strategy may not cut through."""

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """Take activations ``(batch, ...)`` to activations ``(batch, ...)``, contiguous and floating."""
        raise TypeError(f"{type(self).__name__} is a block without a forward")


class Chain(nn.Sequential):
    """Named blocks in order; they keep their names in a part of the chain."""

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:  # type: ignore[override]
        """Run all blocks.

        Args:
            x: ``(batch, 1, rows, frames)``, zero where padded.
            valid: ``(batch,)`` share of real frames.
            seed: ``(batch,)`` int64.
        """
        for block in self:
            x = block(x, valid, seed)
        return x

    def skeleton(self) -> Chain:
        """A copy on the meta device: it has shapes and no memory, and computing with it computes nothing."""
        memo: dict[int, Tensor] = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in self.parameters()
        }
        memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in self.buffers()}
        return copy.deepcopy(self, memo)

    def shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """The shape before each block and after the last, for an input of ``shape``; computes nothing."""
        x, valid, seed = example(shape, next(self.parameters()).dtype)
        shapes = [tuple(x.shape)]
        with torch.no_grad():
            for block in self.skeleton():
                x = block(x, valid, seed)
                shapes.append(tuple(x.shape))
        return shapes

    def part(self, start: int, stop: int) -> Chain:
        """The blocks from ``start`` up to ``stop``; they and their names are this chain's own."""
        return Chain(OrderedDict(list(self.named_children())[start:stop]))

    def signature(self) -> dict[str, list[int]]:
        """Names and shapes of all that is stored: two chains with the same signature can share a checkpoint."""
        return {name: list(tensor.shape) for name, tensor in stored(self).items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take what is stored of a chain with the same signature."""
        with torch.no_grad():
            for name, tensor in stored(self).items():
                tensor.copy_(weights[name])


def stored(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, by name; of those that stand under several names the first."""
    kept = module.state_dict(keep_vars=True)
    names = [*(name for name, _ in module.named_parameters()), *(name for name, _ in module.named_buffers())]
    return {name: kept[name] for name in names if name in kept}


def example(
    shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "meta"
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch to measure or count with: random activations of ``shape``, whole utterances, seeds of 0.

    On the meta device, for a skeleton, it takes no memory.
    """
    return (
        torch.randn(tuple(shape), dtype=dtype, device=device),
        torch.ones(shape[0], device=device),
        torch.zeros(shape[0], dtype=torch.int64, device=device),
    )


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """The mask ``(batch, frames)`` that is 1 on real frames.

    The small term keeps a share such as 0.6 of 5 frames, stored as 0.6000000238, from counting a fourth one.
    """
    real = torch.ceil(valid * frames - 1e-3)
    return (torch.arange(frames, device=valid.device) < real[:, None]).to(valid.dtype)


def hashed_uniform(seed: Tensor, stream: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), ``(batch, count)``, each a function of its seed, the stream and its place alone.

    A 32-bit avalanche (Chris Wellons' ``lowbias32``) in 64-bit integers: no generator's state, so no process order.
    """

    def avalanche(z: Tensor) -> Tensor:
        z = ((z ^ (z >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        z = ((z ^ (z >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        return z ^ (z >> 16)

    if seed.is_meta:  # a skeleton draws nothing
        return torch.empty(len(seed), count, dtype=torch.float64, device=seed.device)
    place = torch.arange(count, device=seed.device, dtype=torch.int64)
    start = avalanche((seed ^ (seed >> 32)) & 0xFFFFFFFF) ^ (stream & 0xFFFFFFFF)
    return avalanche((avalanche(start)[:, None] + place * 0x9E3779B9) & 0xFFFFFFFF).double().div(2.0**32)
