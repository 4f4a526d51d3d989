"""Convolution and attention over frames by turns (Gulati et al. 2020, 'Conformer', Interspeech), as blocks of a chain.

What differs from the paper: a masked group normalisation stands where the batch normalisation stood, since a batch's
statistics do not survive micro-batches; and no positions are encoded, since the convolutions see order.
"""

from __future__ import annotations

from torch import Tensor, nn

from parallel_ser.models.attention import Attention
from parallel_ser.models.blocks import FrameDropout, MaskedGroupNorm, frames_of
from parallel_ser.models.chain import Block
from parallel_ser.models.frames import images_of


class FeedForward(nn.Module):
    """Normalisation, expansion by four, SiLU and back, on ``(batch, frames, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = self.down(nn.functional.silu(self.up(self.norm(x))))
        return y


class Convolution(nn.Module):
    """A gated convolution of each feature over time, between two linear layers, on ``(batch, frames, width)``."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.depthwise = nn.Conv2d(width, width, (1, kernel), padding=(0, kernel // 2), groups=width, bias=False)
        self.group_norm = MaskedGroupNorm(groups, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``mask``: ``(batch, frames)``, 1 on real frames."""
        x = self.norm(x)
        gated = images_of(self.value(x) * self.gate(x).sigmoid(), mask)
        y = self.group_norm(self.depthwise(gated), mask).to(x.dtype)
        out: Tensor = self.out(nn.functional.silu(y).squeeze(2).transpose(1, 2))
        return out


class ConformerLayer(Block):
    """Half a feed-forward, attention, convolution, half a feed-forward: ``(batch, width, 1, frames)``."""

    def __init__(self, width: int, heads: int, kernel: int, dropout: float, name: str) -> None:
        super().__init__()
        self.first, self.second = FeedForward(width), FeedForward(width)
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.convolution = Convolution(width, kernel, heads)
        self.last = nn.LayerNorm(width)
        self.dropout = FrameDropout(dropout, name)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        y, mask = frames_of(x, valid)
        y = y + 0.5 * self.dropout(self.first(y), seed)
        y = y + self.dropout(self.attention(self.norm(y), mask), seed + 1)
        y = y + self.dropout(self.convolution(y, mask), seed + 2)
        y = y + 0.5 * self.dropout(self.second(y), seed + 3)
        return images_of(self.last(y), mask)
