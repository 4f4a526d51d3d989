"""Self-attention over frames, as a block of a chain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parallel_ser.models.blocks import FrameDropout, frames_of
from parallel_ser.models.chain import Block


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017); no frame attends to padding."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.value = nn.Linear(features, features), nn.Linear(features, features)
        self.key = nn.Linear(features, features, bias=False)  # softmax would not notice one
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x``: ``(batch, frames, features)``; ``mask``: ``(batch, frames)``, 1 on real frames."""
        return self.out(self.attend(self.query(x), self.key(x), self.value(x), mask))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Mix values by how queries meet keys; the mask is the keys'."""
        query, key, value = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (query, key, value))
        away = torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask == 0, -1e9)[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, away)
        return mixed.transpose(1, 2).flatten(2)


class SelfAttention(Block):
    """A transformer layer over frames, normalised first: ``(batch, channels, rows, frames)`` to the same shape.

    Channels and rows together are a frame's features. A cosine of the frame's place is not added: the convolutions
    before it see order already.
    """

    def __init__(self, features: int, heads: int, dropout: float, name: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.attention = Attention(features, heads)
        self.up, self.down = nn.Linear(features, 2 * features), nn.Linear(2 * features, features)
        self.dropout = FrameDropout(dropout, name)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        y = frames + self.dropout(self.attention(self.norm1(frames), mask), seed)
        y = y + self.dropout(self.down(self.up(self.norm2(y)).relu()), seed + 1)
        return (y * mask.unsqueeze(-1)).transpose(1, 2).reshape(x.shape).to(x.dtype)
