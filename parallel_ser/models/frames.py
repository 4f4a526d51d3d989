"""Blocks over frames: a frame's features go through, ``(batch, width, 1, frames)``.

What comes from a feature extractor or a convolution, ``(batch, channels, rows, frames)``, has channels and rows
together as a frame's features. Padded frames are kept at zero.
"""

from __future__ import annotations

from torch import Tensor, nn

from parallel_ser.models.attention import Attention
from parallel_ser.models.blocks import FrameDropout, frames_of
from parallel_ser.models.chain import Block


def images_of(frames: Tensor, mask: Tensor) -> Tensor:
    """``(batch, features, 1, frames)`` of ``(batch, frames, features)``, zero where padded."""
    return (frames * mask.to(frames.dtype)[:, :, None]).transpose(1, 2).unsqueeze(2).contiguous()


class Project(Block):
    """A linear layer on each frame: ``(batch, channels, rows, frames)`` to ``(batch, width, 1, frames)``."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        return images_of(self.linear(frames), mask)


class LSTM(Block):
    """A layer of LSTM over frames: ``(batch, channels, rows, frames)`` to ``(batch, width, 1, frames)``."""

    def __init__(self, features: int, width: int, dropout: float, name: str) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, width, batch_first=True)
        self.dropout = FrameDropout(dropout, name)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        return images_of(self.dropout(self.lstm(frames)[0], seed), mask)


class EncoderLayer(Block):
    """A transformer layer that is normalised last, as in Vaswani et al. 2017; ``(batch, width, 1, frames)``."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, name: str) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = FrameDropout(dropout, name)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        y = self.norm1(frames + self.dropout(self.attention(frames, mask), seed))
        y = self.norm2(y + self.dropout(self.down(self.up(y).relu()), seed + 1))
        return images_of(y, mask)


class FramePooling(Block):
    """The mean of the real frames, or the last of them: ``(batch, width, 1, frames)`` to ``(batch, width)``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        if self.kind == "last":
            last = (mask.sum(1).long() - 1).clamp_min(0)
            return frames.gather(1, last[:, None, None].expand(-1, 1, frames.shape[2]))[:, 0]
        return (frames * mask.to(frames.dtype)[:, :, None]).sum(1) / mask.sum(1, keepdim=True).to(frames.dtype)
