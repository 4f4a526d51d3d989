"""Recurrent layers over frames, as blocks of a chain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parallel_ser.models.blocks import FrameDropout, frames_of
from parallel_ser.models.chain import Block


class BidirectionalLSTM(Block):
    """An LSTM over frames in both directions, added to its input ``(batch, channels, rows, frames)``.

    Channels and rows together are a frame's features. The backward direction begins with an utterance's last real
    frame: its frames are turned round within their number, so that padding changes nothing.

    Args:
        features: of a frame.
        dropout: the share of what is added that is set to zero in training.
        name: from which dropout draws.
    """

    def __init__(self, features: int, dropout: float, name: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.ahead = nn.LSTM(features, features // 2, batch_first=True)
        self.back = nn.LSTM(features, features - features // 2, batch_first=True)
        self.dropout = FrameDropout(dropout, name)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        given = self.norm(frames)
        turned = _turned(mask)[:, :, None]
        ahead, _ = self.ahead(given)
        back, _ = self.back(given.gather(1, turned.expand_as(given)))
        both = torch.cat([ahead, back.gather(1, turned.expand_as(back))], -1)
        y = (frames + self.dropout(both, seed)) * mask[:, :, None]
        return y.transpose(1, 2).reshape(x.shape).to(x.dtype)


def _turned(mask: Tensor) -> Tensor:
    """For each frame the one that takes its place when the real ones are turned round, ``(batch, frames)``."""
    frames = mask.shape[1]
    place = torch.arange(frames, device=mask.device)
    real = mask.sum(1, keepdim=True).long()
    return torch.where(place < real, real - 1 - place, place)
