"""From frames to a weighted sum of all layers: the transformer of the encoders, as blocks of a chain.

What passes from block to block is ``(x, total, norm)``: the frames, the sum so far of all layers' outputs, each times
the exponential of its own ``share``, and the sum of these exponentials ``(batch, 1)``. In the end ``total / norm`` is
the layers' mean, weighted by a softmax (Yang et al. 2021, SUPERB). In WavLM the table of relative positions goes along.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from parallel_ser.models.blocks import FrameDropout
from parallel_ser.models.chain import Block, frame_mask
from parallel_ser.models.encoder.attention import SelfAttention, linear
from parallel_ser.models.encoder.plans import Plan
from parallel_ser.models.frames import images_of

Carried = tuple[Tensor, ...]


def frames(image: Tensor) -> Tensor:
    """``(batch, frames, width)`` of ``(batch, width, 1, frames)``."""
    return image.squeeze(2).transpose(1, 2)


def image(frames: Tensor) -> Tensor:
    """The reverse of ``frames``; a view, as images lie in memory inside a stage."""
    return frames.transpose(1, 2).unsqueeze(2)


class _Carried(torch.autograd.Function):
    """A parameter that goes along with the activations: as it is for each utterance, ``(batch, ...)``.

    It is a function of the activations, too, whose gradient is none: the second half of a split backward pass
    begins where parameters meet the way back to the input, and would forget one that leaves without meeting it.
    """

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, x: Tensor) -> Tensor:
        # a copy also where there is one utterance: a view of a parameter counts as the parameter
        return parameter.expand(len(x), *parameter.shape).clone(memory_format=torch.contiguous_format)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.sum(0), None


def carried(parameter: Tensor, x: Tensor) -> Tensor:
    """See ``_Carried``."""
    y: Tensor = _Carried.apply(parameter, x)
    return y


class Projection(Block):
    """From the extractor's channels to the transformer's width: ``(batch, channels, 1, frames)``; padding is zero."""

    def __init__(self, plan: Plan, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(plan.channels)
        self.projection = linear(plan.channels, plan.width)
        self.dropout = FrameDropout(dropout, "projection")

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        y = self.dropout(self.projection(self.layer_norm(frames(x))), seed)
        return images_of(y, frame_mask(valid, x.shape[-1]))


class PositionalConv(nn.Module):
    """A grouped convolution whose weights' norm over all channels is a parameter of its own (weight normalisation).

    Attributes:
        split_weight_grad: whether autograd's own operations convolve, see ``models.blocks.normalise``.
    """

    split_weight_grad = False

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.groups, self.kernel = plan.groups, plan.kernel
        self.weight_v = nn.Parameter(torch.empty(plan.width, plan.width // plan.groups, plan.kernel))
        nn.init.normal_(self.weight_v, std=(4.0 / (plan.kernel * plan.width)) ** 0.5)
        self.weight_g = nn.Parameter(self.weight_v.detach().square().sum((0, 1), keepdim=True).sqrt())
        self.bias = nn.Parameter(torch.zeros(plan.width))

    def scale(self) -> Tensor:
        """What the weights are multiplied with at each place of the kernel, ``(1, 1, kernel)``."""
        return self.weight_g / self.square(self.weight_v).sqrt()

    def square(self, v: Tensor) -> Tensor:
        """The squared norm of the weights at each place of the kernel."""
        return v.square().sum((0, 1), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, width, frames)`` to the same shape."""
        return self.convolved(nn.functional.pad(x, (self.kernel // 2, (self.kernel - 1) // 2)))

    def convolved(self, x: Tensor) -> Tensor:
        """Frames with ``kernel - 1`` more around them, to as many frames."""
        if self.split_weight_grad:
            return nn.functional.conv1d(x, self.weight_v * self.scale(), self.bias, groups=self.groups)
        y: Tensor = _ScaledConv.apply(x, self.weight_v, self.scale(), self.bias, self.groups)
        return y


class _ScaledConv(torch.autograd.Function):
    """A grouped convolution with ``weight * scale``, which is made again backward: it is larger than the activations,
    and one would be kept for each micro-batch, as it is where a backward pass is split in two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight, scale)
        ctx.groups = groups
        return nn.functional.conv1d(x, weight * scale, bias, groups=groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        given, weight, scale = ctx.saved_tensors
        x, scaled = given.to(gradient.dtype), (weight * scale).to(gradient.dtype)
        of_x, of_weight, of_scale, of_bias, _ = ctx.needs_input_grad
        wanted = [of_x, of_weight or of_scale, of_bias]
        sizes = [len(weight)], [1], [0], [1], False, [0], ctx.groups
        dx, dw, db = torch.ops.aten.convolution_backward(gradient, x, scaled, *sizes, wanted)
        dw = dw.to(weight.dtype) if wanted[1] else dw
        d_scale = (dw * weight).sum((0, 1), keepdim=True) if of_scale else None
        d_weight = dw.mul_(scale) if of_weight else None
        return dx.to(given.dtype) if of_x else None, d_weight, d_scale, db.to(weight.dtype) if of_bias else None, None


class Positions(nn.Module):
    """What a convolution sees is added to each frame: ``(batch, width, 1, frames)`` to ``(x, total, norm)``."""

    def __init__(self, plan: Plan, dropout: float) -> None:
        super().__init__()
        self.conv = PositionalConv(plan)
        self.layer_norm = None if plan.norm_first else nn.LayerNorm(plan.width)
        self.dropout = FrameDropout(dropout, "positions")
        self.share = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Carried:
        """See the class."""
        y = frames(x) + nn.functional.gelu(self.conv(x.squeeze(2))).transpose(1, 2)
        y = image(self.dropout(y if self.layer_norm is None else self.layer_norm(y), seed))
        share = self.share.exp()
        return y, share * y, carried(share, y)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.intermediate_dense = linear(plan.width, plan.hidden)
        self.output_dense = linear(plan.hidden, plan.width)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, frames, width)``."""
        y: Tensor = self.output_dense(nn.functional.gelu(self.intermediate_dense(x)))
        return y


class TransformerLayer(nn.Module):
    """A layer of the transformer, on ``(x, total, norm)``, behind the first of WavLM with the table of positions.

    Args:
        plan: of the encoder.
        number: of the layer, from 0; the first makes the table, and the last lets it go.
        dropout: share of what attention and feed-forward add that is set to zero in training.
        name: from which dropout draws.
    """

    def __init__(self, plan: Plan, number: int, dropout: float, name: str) -> None:
        super().__init__()
        self.attention = SelfAttention(plan, first=not number)
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(plan.width), nn.LayerNorm(plan.width)
        self.feed_forward = FeedForward(plan)
        self.dropout = FrameDropout(dropout, name)
        self.norm_first, self.first, self.last = plan.norm_first, not number, number + 1 == plan.layers
        # the last of those that are normalised first is normalised once more before it counts, see LayerSum
        self.share = None if plan.norm_first and self.last else nn.Parameter(torch.zeros(1))

    def extra_repr(self) -> str:
        """What tells it from its neighbours."""
        return f"first={self.first}, last={self.last}"

    def forward(self, x: Carried, valid: Tensor, seed: Tensor) -> Carried:
        """See the class."""
        y, total, norm, *rest = x
        table = rest[0] if rest else None
        if self.first and self.attention.buckets:
            table = carried(self.attention.rel_attn_embed.weight, y)
        z = image(self.transformed(frames(y), frame_mask(valid, y.shape[-1]), table, seed))
        if self.share is not None:
            share = self.share.exp()
            total, norm = total + share * z, norm + share
        return (z, total, norm) if table is None or self.last else (z, total, norm, table)

    def transformed(self, x: Tensor, mask: Tensor, table: Tensor | None, seed: Tensor) -> Tensor:
        """The layer itself, on ``(batch, frames, width)``."""
        if self.norm_first:
            x = x + self.dropout(self.attention(self.layer_norm(x), mask, table), seed)
            return x + self.dropout(self.feed_forward(self.final_layer_norm(x)), seed + 1)
        x = self.layer_norm(x + self.dropout(self.attention(x, mask, table), seed))
        y: Tensor = self.final_layer_norm(x + self.dropout(self.feed_forward(x), seed + 1))
        return y


class LayerSum(nn.Module):
    """``(x, total, norm)`` to the weighted mean of all layers ``(batch, width, 1, frames)``."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(plan.width) if plan.norm_first else None
        self.share = nn.Parameter(torch.zeros(1)) if plan.norm_first else None

    def forward(self, x: Carried, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        y, total, norm = x
        if self.layer_norm is not None and self.share is not None:
            share = self.share.exp()
            total, norm = total + share * image(self.layer_norm(frames(y))), norm + share
        return total / norm[:, :, None, None]
