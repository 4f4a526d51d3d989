"""Blocks that read vectors of an utterance, such as functionals, beside its frames or in their place."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from parallel_ser.models.blocks import Dense
from parallel_ser.models.chain import Block, hashed_uniform

LARGEST = 4.0
"""Deviations from the mean that a value counts for at the most."""


class VectorLayer(Dense):
    """A dense layer over ``vectors`` ``(batch, values)``, to ``(batch, width)``; of its input it reads nothing."""

    def __init__(self, values: int, width: int, dropout: float, name: str) -> None:
        super().__init__(values, width, dropout, name)
        self.values = values

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor, vectors: Tensor | None = None) -> Tensor:
        """See the class; without ``vectors``, in batches that are only measured or counted, they are zero."""
        vectors = x.new_zeros(len(x), self.values) if vectors is None else vectors.to(x.dtype)
        return super().forward(vectors.clamp(-LARGEST, LARGEST), valid, seed)


class VectorBranch(Block):
    """Two dense layers over ``vectors`` ``(batch, values)``: ``(batch, inputs)`` to ``(batch, inputs + width)``.

    In training each utterance keeps one half, drawn at random, and the other is set to zero; in evaluation both count
    half. So each learns to tell the classes by itself, and the logits of the layer behind are the mean of theirs
    (ModDrop, Neverova et al. 2016, who drop each modality by its own draw).
    """

    def __init__(self, values: int, width: int, dropout: float, name: str) -> None:
        super().__init__()
        self.stream = zlib.crc32(name.encode())
        self.first = VectorLayer(values, width, dropout, f"{name}.first")
        self.second = Dense(width, width, dropout, f"{name}.second")

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor, vectors: Tensor | None = None) -> Tensor:
        """See the class, and ``VectorLayer``."""
        y = self.second(self.first(x, valid, seed, vectors), valid, seed)
        share = hashed_uniform(seed, self.stream, 1).lt(0.5).to(x.dtype) if self.training else 0.5
        return torch.cat([x * share, y * (1.0 - share)], 1)
