"""What a strategy steps on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inputs:
    """The inputs of a batch.

    Attributes:
        x: ``(batch, 1, rows, frames)``, zero where padded; on the meta device for a rank that does not read it.
        valid: ``(batch,)`` share of each utterance's frames that is real.
        seed: ``(batch,)`` int64, from which blocks draw their random numbers.
    """

    x: Tensor
    valid: Tensor
    seed: Tensor

    def __len__(self) -> int:
        return len(self.valid)

    def __getitem__(self, rows: slice) -> Inputs:
        return Inputs(self.x[rows], self.valid[rows], self.seed[rows])

    def widened(self, multiple: int) -> Inputs:
        """With empty frames behind the last until ``multiple`` divides their number."""
        frames = self.x.shape[-1]
        missing = -frames % multiple
        if not missing:
            return self
        x = torch.nn.functional.pad(self.x, (0, missing))
        return Inputs(x, self.valid * (frames / (frames + missing)), self.seed)

    def to(self, device: torch.device) -> Inputs:
        """The same on ``device``; a meta tensor stays one."""
        x = self.x if self.x.is_meta else self.x.to(device)
        return Inputs(x, self.valid.to(device), self.seed.to(device))

    def split(self, parts: int) -> Iterator[Inputs]:
        """At most ``parts`` pieces of equal size (the last may be shorter)."""
        size = -(-len(self) // parts)
        pieces = (self.x.split(size), self.valid.split(size), self.seed.split(size))
        return (Inputs(*piece) for piece in zip(*pieces))

    def padded(self, multiple: int) -> Inputs:
        """Filled up with copies of the first utterance until ``multiple`` divides the length."""
        missing = -len(self) % multiple
        return Inputs(*(fill(tensor, missing, copy=True) for tensor in (self.x, self.valid, self.seed)))


def fill(tensor: Tensor, missing: int, copy: bool) -> Tensor:
    """``tensor`` with ``missing`` further rows: copies of the first, or zeros."""
    if not missing:
        return tensor
    rows = tensor[:1].expand(missing, *tensor.shape[1:])
    return torch.cat([tensor, rows if copy else torch.zeros_like(rows)])


def random_batch(shape: Sequence[int], classes: int, seed: int = 0) -> tuple[Inputs, Tensor]:
    """Random utterances ``(batch, 1, rows, frames)`` without padding, the same on every rank, and one-hot targets."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tuple(shape), generator=generator)
    targets = torch.eye(classes)[torch.randint(classes, (len(x),), generator=generator)]
    return Inputs(x, torch.ones(len(x)), torch.arange(len(x))), targets
