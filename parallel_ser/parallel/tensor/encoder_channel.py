"""The speech encoders split over channels: heads, feed-forward, and the extractor's convolutions in pairs.

Of the convolutions of a block the first is cut by its outputs and the second by its inputs, as in ``channel``; where
they normalise over channels between them, the ranks sum two numbers a frame. The groups of the positional convolution
are shared, and what they give is gathered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parallel_ser.models.blocks import widened
from parallel_ser.models.encoder.attention import SelfAttention
from parallel_ser.models.encoder.blocks import LayerSum, PositionalConv, Positions, Projection, TransformerLayer
from parallel_ser.models.encoder.extractor import ChannelsNorm, ConvLayer, Convolutions, TimeNormGELU, Waveform
from parallel_ser.models.encoder.tuning import LoRALinear
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.tensor.channel import INPUTS, OUTPUTS, ColumnParallelLinear, RowParallelLinear
from parallel_ser.parallel.tensor.placement import PARTIAL, Placement, Rule, SplitLayer, layers, partial, place
from parallel_ser.parallel.tensor.regions import (
    copy_to_region,
    gather_from_region,
    reduce_from_region,
    scatter_to_region,
)


class ColumnParallelConv1d(SplitLayer):
    """A convolution over time that is cut by its outputs."""

    def __init__(self, conv: nn.Conv1d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=OUTPUTS, bias=OUTPUTS)
        self.stride = conv.stride

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, frames)``, to this rank's channels."""
        return F.conv1d(copy_to_region(x, self.axis), self.weight, self.bias, self.stride)


class RowParallelConv1d(SplitLayer):
    """A convolution over time that is cut by its inputs; each rank adds the bias after the sum."""

    def __init__(self, conv: nn.Conv1d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=INPUTS)
        self.stride = conv.stride

    def forward(self, x: Tensor) -> Tensor:
        """From this rank's channels to all."""
        y = reduce_from_region(F.conv1d(x, self.weight, None, self.stride), self.axis)
        return y if self.bias is None else y + self.bias[:, None]


class ScatteredRowParallelConv1d(RowParallelConv1d):
    """One that is no part of a pair: each rank takes its channels of the whole input."""

    def forward(self, x: Tensor) -> Tensor:
        """From all channels to all."""
        return super().forward(scatter_to_region(x, self.axis, 1))


class ChannelParallelNorm(SplitLayer):
    """A normalisation over channels of which each rank has its own."""

    def __init__(self, norm: nn.LayerNorm, axis: Axis) -> None:
        super().__init__(norm, axis, weight=OUTPUTS, bias=OUTPUTS)
        self.eps, self.channels = norm.eps, norm.normalized_shape[0]

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """``(batch, channels of this rank, frames)``."""
        assert self.bias is not None
        x = widened(x)
        around = x - self._mean(x)
        scaled = around * torch.rsqrt(self._mean(around.square()) + self.eps)
        return torch.addcmul(self.bias[:, None], scaled, self.weight[:, None])

    def _mean(self, x: Tensor) -> Tensor:
        """Over all ranks' channels, which each rank compares its own with."""
        return copy_to_region(reduce_from_region(x.sum(1, keepdim=True), self.axis) / self.channels, self.axis)


def _convolutions(block: Convolutions, axis: Axis) -> nn.Module:
    """The rule of the extractor's blocks: pairs, and what is left over alone."""
    every: list[ConvLayer] = list(block.conv_layers.values())  # type: ignore[arg-type]
    for number, layer in enumerate(every):
        if number % 2:
            layer.conv = RowParallelConv1d(layer.conv, axis)  # type: ignore[assignment]
        elif number + 1 == len(every):
            layer.conv = ScatteredRowParallelConv1d(layer.conv, axis)  # type: ignore[assignment]
        else:
            layer.conv = ColumnParallelConv1d(layer.conv, axis)  # type: ignore[assignment]
            if isinstance(layer.layer_norm, TimeNormGELU):
                place(layer.layer_norm, axis, weight=OUTPUTS, bias=OUTPUTS)
            elif isinstance(layer.layer_norm, ChannelsNorm):
                layer.layer_norm = ChannelParallelNorm(layer.layer_norm, axis)
    return block


class ChannelPositions(PositionalConv):
    """Some of the groups; the norm of the weights is over all ranks'."""

    axis: Axis

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, width, frames)``, whole before and behind."""
        return gather_from_region(super().forward(scatter_to_region(x, self.axis, 1)), self.axis, 1)

    def square(self, v: Tensor) -> Tensor:
        """See ``PositionalConv``."""
        return copy_to_region(reduce_from_region(super().square(v), self.axis), self.axis)


def _positions(conv: PositionalConv, axis: Axis) -> nn.Module:
    conv.__class__ = ChannelPositions
    conv.axis = axis  # type: ignore[assignment]
    conv.groups //= axis.size
    return place(conv, axis, weight_v=OUTPUTS, weight_g=PARTIAL, bias=OUTPUTS)


class ChannelAttention(SelfAttention):
    """Attention of this rank's heads."""

    axis: Axis

    def forward(self, x: Tensor, mask: Tensor, table: Tensor | None = None) -> Tensor:
        """See ``SelfAttention``."""
        x = copy_to_region(x, self.axis)
        table = None if table is None else scatter_to_region(table, self.axis, 2)
        return self.out_proj(self.mixed(x, self.axis.slice(x, 2), mask, table))


def _heads(attention: SelfAttention, axis: Axis) -> nn.Module:
    attention.__class__ = ChannelAttention
    attention.axis = axis  # type: ignore[assignment]
    attention.heads //= axis.size
    for name in ("q_proj", "k_proj", "v_proj"):
        linear = getattr(attention, name)
        # of an adapter the first matrix sees this rank's part of the second alone
        adapter = {"lora_a": PARTIAL, "lora_b": OUTPUTS} if isinstance(linear, LoRALinear) else {}
        place(linear, axis, weight=OUTPUTS, bias=OUTPUTS, **adapter)
    attention.out_proj = RowParallelLinear(attention.out_proj, axis)  # type: ignore[assignment]
    if not attention.buckets:
        return attention
    partial(attention.gru_rel_pos_linear, axis)  # it sees this rank's heads alone
    return place(attention, axis, gru_rel_pos_const=Placement(dim=1))


RULES: dict[type[nn.Module], Rule] = {
    Waveform: _convolutions,
    Convolutions: _convolutions,
    Projection: layers(),
    Positions: layers(conv=_positions),
    TransformerLayer: layers(
        attention=_heads,
        feed_forward__intermediate_dense=ColumnParallelLinear,
        feed_forward__output_dense=RowParallelLinear,
    ),
    LayerSum: layers(),
}
