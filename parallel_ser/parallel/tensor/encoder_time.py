"""The speech encoders split over time: each rank has its own frames, and attention sees all ranks' keys and values.

The extractor's frames are made of 400 samples, so each rank needs 80 of its right neighbour; what stands behind its own
frames between the convolutions it computes as well as its neighbour does. The positional convolution sees farther than
a rank's frames reach, so they are gathered for it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parallel_ser.models.encoder.attention import SelfAttention
from parallel_ser.models.encoder.blocks import LayerSum, PositionalConv, Positions, Projection, TransformerLayer
from parallel_ser.models.encoder.extractor import FIRST, MORE, Convolutions, TimeNormGELU, Waveform
from parallel_ser.models.encoder.plans import HOP, SEEN
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.tensor.placement import Rule, partial
from parallel_ser.parallel.tensor.regions import copy_to_region, gather_from_region


class TimeWaveform(Waveform):
    """The first convolutions, of a rank's hops."""

    axis: Axis

    def followed(self, signal: Tensor) -> Tensor:
        """The samples, and the first of the right neighbour; of the last rank zeros."""
        none, right = signal.new_empty(len(signal), 0), signal.new_zeros(len(signal), SEEN - HOP)
        self.axis.neighbours(signal[:, : SEEN - HOP].detach().contiguous(), none, none, right).wait()
        return torch.cat([signal, right], 1)

    def counted(self, mask: Tensor) -> Tensor:
        """See ``Waveform``; each frame counts on one rank, those behind the last hop on the last."""
        axis, own = self.axis, FIRST * mask.shape[1]
        real = axis.sum(mask.sum(1, keepdim=True))
        places = torch.arange(own + MORE, device=mask.device)
        owned = places < (own + MORE if axis.rank + 1 == axis.size else own)
        return owned & (axis.rank * own + places < FIRST * real + MORE)

    def total(self, sums: Tensor) -> Tensor:
        """See ``Waveform``."""
        return self.axis.sum(sums)


class TimeSplitNorm(TimeNormGELU):
    """A normalisation over all ranks' frames."""

    axis: Axis

    def total(self, sums: Tensor) -> Tensor:
        """See ``TimeNormGELU``."""
        return self.axis.sum(sums)


class TimePositions(PositionalConv):
    """The positional convolution at a rank's frames."""

    axis: Axis

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, width, frames of this rank)``."""
        own = x.shape[-1]
        whole = copy_to_region(gather_from_region(x, self.axis, 2), self.axis)
        whole = F.pad(whole, (self.kernel // 2, (self.kernel - 1) // 2))
        return self.convolved(whole.narrow(2, self.axis.rank * own, own + self.kernel - 1))


class TimeSelfAttention(SelfAttention):
    """Attention of a rank's frames to all ranks' frames."""

    axis: Axis

    def seen(self, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See ``SelfAttention``."""
        both = copy_to_region(gather_from_region(torch.cat([key, value], -1), self.axis, 1), self.axis)
        key, value = both.chunk(2, -1)
        return key, value, self.axis.gather(mask, 1)

    def offset(self, queries: int) -> int:
        """See ``SelfAttention``."""
        return self.axis.rank * queries


SPLIT: dict[type[nn.Module], type[nn.Module]] = {
    Waveform: TimeWaveform,
    TimeNormGELU: TimeSplitNorm,
    PositionalConv: TimePositions,
    SelfAttention: TimeSelfAttention,
}


def _frames(block: nn.Module, axis: Axis) -> nn.Module:
    """The rule of all blocks: what sees other frames asks the other ranks, and every gradient is of own frames."""
    for module in block.modules():
        if kind := SPLIT.get(type(module)):
            module.__class__ = kind
            module.axis = axis  # type: ignore[assignment]
    return partial(block, axis)


RULES: dict[type[nn.Module], Rule] = dict.fromkeys(
    (Waveform, Convolutions, Projection, Positions, TransformerLayer, LayerSum), _frames
)
