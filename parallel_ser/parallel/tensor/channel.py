"""Blocks split over channels (Shoeybi et al. 2019, Megatron): one collective forward and one backward a pair of layers.

Of a pair, the first layer is cut by its outputs and the second by its inputs::

    x ──f──▶ conv1 (C/n outputs) ─▶ norm1 (whole groups) ─▶ relu ─▶ conv2 (C/n inputs) ──g──▶ y

*f* sums the gradients backward and *g* the outputs forward, see ``split``. A stem has one input channel and a head few
outputs: cutting them would save little arithmetic and send a whole activation, so each rank computes them whole.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from parallel_ser.models.attention import Attention, SelfAttention
from parallel_ser.models.blocks import AttentiveStatistics, Dense, Head, MaskedGroupNorm, Residual, Stem, normalise
from parallel_ser.models.branch import VectorBranch, VectorLayer
from parallel_ser.models.conformer import ConformerLayer
from parallel_ser.models.frames import EncoderLayer, FramePooling, Project
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.tensor.placement import Placement, Rule, SplitLayer, layers, pair
from parallel_ser.parallel.tensor.regions import copy_to_region, reduce_from_region, scatter_to_region

OUTPUTS, INPUTS = Placement(dim=0), Placement(dim=1)


class ColumnParallelConv2d(SplitLayer):
    """The convolution of a pair that is cut by its outputs."""

    def __init__(self, conv: nn.Conv2d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=OUTPUTS, bias=OUTPUTS)
        self.stride, self.padding = pair(conv.stride), pair(conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, rows, frames)``, to this rank's channels."""
        return F.conv2d(copy_to_region(x, self.axis), self.weight, self.bias, self.stride, self.padding)


class RowParallelConv2d(SplitLayer):
    """The convolution of a pair that is cut by its inputs; without bias, which would be summed."""

    def __init__(self, conv: nn.Conv2d, axis: Axis) -> None:
        assert conv.bias is None
        super().__init__(conv, axis, weight=INPUTS)
        self.stride, self.padding = pair(conv.stride), pair(conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        """From this rank's channels to all."""
        return reduce_from_region(F.conv2d(x, self.weight, None, self.stride, self.padding), self.axis)


class ColumnParallelLinear(SplitLayer):
    """The linear layer of a pair that is cut by its outputs."""

    def __init__(self, linear: nn.Linear, axis: Axis) -> None:
        super().__init__(linear, axis, weight=OUTPUTS, bias=OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., features)`` to this rank's outputs."""
        return F.linear(copy_to_region(x, self.axis), self.weight, self.bias)


class RowParallelLinear(SplitLayer):
    """The linear layer of a pair that is cut by its inputs; each rank adds the bias after the sum."""

    def __init__(self, linear: nn.Linear, axis: Axis) -> None:
        super().__init__(linear, axis, weight=INPUTS)

    def forward(self, x: Tensor) -> Tensor:
        """From this rank's inputs to all outputs."""
        y = reduce_from_region(F.linear(x, self.weight), self.axis)
        return y if self.bias is None else y + self.bias


class ScatteredRowParallelLinear(RowParallelLinear):
    """A linear layer that is no part of a pair: each rank takes its slice of the whole input."""

    def forward(self, x: Tensor) -> Tensor:
        """From the whole input to all outputs."""
        return super().forward(scatter_to_region(x, self.axis, 1))


def scattered(linear: nn.Linear, axis: Axis) -> nn.Module:
    """``ScatteredRowParallelLinear``; the layer whole on each rank where its inputs do not divide."""
    return linear if linear.in_features % axis.size else ScatteredRowParallelLinear(linear, axis)


class ChannelNorm(SplitLayer):
    """Whole groups of a masked group normalisation."""

    split_weight_grad = False

    def __init__(self, norm: MaskedGroupNorm, axis: Axis) -> None:
        super().__init__(norm, axis, weight=OUTPUTS, bias=OUTPUTS)
        self.groups, self.eps = norm.num_groups // axis.size, norm.eps

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x``: ``(batch, channels of this rank, rows, frames)``; ``mask``: ``(batch, frames)``."""
        assert self.bias is not None
        return normalise(x, mask, self.weight, self.bias, self.groups, self.eps, self.split_weight_grad)


class ChannelDepthwise(SplitLayer):
    """A convolution of each channel by itself, of this rank's channels."""

    def __init__(self, conv: nn.Conv2d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=OUTPUTS, bias=OUTPUTS)
        self.stride, self.padding = pair(conv.stride), pair(conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels of this rank, rows, frames)``."""
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=len(self.weight))


def heads(attention: Attention, axis: Axis) -> nn.Module:
    """Attention with this rank's heads."""
    attention.heads //= axis.size
    for name in ("query", "key", "value"):
        setattr(attention, name, ColumnParallelLinear(getattr(attention, name), axis))
    attention.out = RowParallelLinear(attention.out, axis)  # type: ignore[assignment]
    return attention


RULES: dict[type[nn.Module], Rule] = {
    Stem: layers(),
    Residual: layers(conv1=ColumnParallelConv2d, norm1=ChannelNorm, conv2=RowParallelConv2d),
    SelfAttention: layers(attention=heads, up=ColumnParallelLinear, down=RowParallelLinear),
    AttentiveStatistics: layers(score__0=ColumnParallelLinear, score__2=RowParallelLinear),
    Project: layers(),
    EncoderLayer: layers(attention=heads, up=ColumnParallelLinear, down=RowParallelLinear),
    ConformerLayer: layers(
        first__up=ColumnParallelLinear,
        first__down=RowParallelLinear,
        attention=heads,
        convolution__value=ColumnParallelLinear,
        convolution__gate=ColumnParallelLinear,
        convolution__depthwise=ChannelDepthwise,
        convolution__group_norm=ChannelNorm,
        convolution__out=RowParallelLinear,
        second__up=ColumnParallelLinear,
        second__down=RowParallelLinear,
    ),
    FramePooling: layers(),
    Dense: layers(linear=ScatteredRowParallelLinear),
    VectorLayer: layers(linear=scattered),
    VectorBranch: layers(first__linear=scattered, second__linear=scattered),
    Head: layers(),
}


def whole(block: nn.Module, axis: Axis) -> nn.Module:
    """A block without a rule: every rank holds its whole input already, and computes it."""
    return block


def find_incompatibility(block: Any, size: int) -> str:
    """Why a block cannot be cut into ``size`` parts, as a clause; empty where it can."""
    counts = {"GroupNorm groups": [m.num_groups for m in block.modules() if isinstance(m, MaskedGroupNorm)]}
    counts["attention heads"] = [m.heads for m in block.modules() if isinstance(m, Attention)]
    for what, numbers in counts.items():
        for number in numbers:
            if number % size:
                return f"its {number} {what} do not divide by {size}"
    return ""
