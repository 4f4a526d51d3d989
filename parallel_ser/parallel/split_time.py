"""Blocks split over time: each rank holds a slice of the frames, and only edges and sums pass between ranks.

A convolution needs its neighbours' edge frames (the *halo*), a normalisation sums two numbers a channel, and pooling
sums one vector an utterance. A rank is given as ``valid`` the share of *its* frames that is real, which holds at every
depth like the share of the whole.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from parallel_ser.models.attention import Attention, SelfAttention
from parallel_ser.models.blocks import AttentiveStatistics, Dense, Head, MaskedGroupNorm, Residual, Stem, normalise
from parallel_ser.models.chain import Block, frame_mask
from parallel_ser.parallel.grid import Axis
from parallel_ser.parallel.split import (
    PARTIAL,
    Rule,
    SplitLayer,
    copied,
    gathered,
    layers,
    pair,
    partial,
    sliced,
    summed,
)


def local_shares(valid: Tensor, axis: Axis) -> Tensor:
    """The share of this rank's frames that is real, from the share of all frames, both ``(batch,)``."""
    return (valid * axis.size - axis.rank).clamp(0.0, 1.0)


def _laid(x: Tensor) -> torch.memory_format:
    """How ``x`` is laid out in memory."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _Halo(torch.autograd.Function):
    """Frames of both neighbours beside a rank's own; zeros at the ends. Backward returns their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, left: int, right: int) -> Tensor:
        ctx.axis, ctx.left, ctx.right = axis, left, right
        frames = x.shape[-1]
        before, after = x.new_zeros(*x.shape[:-1], left), x.new_zeros(*x.shape[:-1], right)
        # my first frames are what the left neighbour has on its right
        axis.neighbours(x[..., :right].contiguous(), x[..., frames - left :].contiguous(), before, after)
        # cat would lay it out as its least part is, and the convolution then reorder it
        wide = torch.empty(*x.shape[:-1], left + frames + right, dtype=x.dtype, device=x.device, memory_format=_laid(x))
        wide[..., :left], wide[..., left : left + frames], wide[..., left + frames :] = before, x, after
        return wide

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        left, right = ctx.left, ctx.right
        frames = gradient.shape[-1] - left - right
        own = gradient[..., left : left + frames].clone()
        first, last = torch.zeros_like(own[..., :right]), torch.zeros_like(own[..., frames - left :])
        first, last = first.contiguous(), last.contiguous()
        before, after = gradient[..., :left].contiguous(), gradient[..., left + frames :].contiguous()
        ctx.axis.neighbours(before, after, first, last)
        own[..., :right] += first
        own[..., frames - left :] += last
        return own, None, None, None


class TimeConv(SplitLayer):
    """A convolution over a rank's frames and the halo that it needs; its stride divides the rank's frames."""

    def __init__(self, conv: nn.Conv2d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=PARTIAL, bias=PARTIAL)
        self.stride, (rows, frames) = pair(conv.stride), pair(conv.padding)
        self.padding = (rows, 0)
        # output o reads the frames from o·stride − padding up to o·stride − padding + kernel
        self.left, self.right = frames, max(0, conv.kernel_size[1] - frames - self.stride[1])

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, rows, frames of this rank)``."""
        if self.left or self.right:
            x = _Halo.apply(x, self.axis, self.left, self.right)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class TimeNorm(SplitLayer):
    """A masked group normalisation over all ranks' frames."""

    apart = False

    def __init__(self, norm: MaskedGroupNorm, axis: Axis) -> None:
        super().__init__(norm, axis, weight=PARTIAL, bias=PARTIAL)
        self.groups, self.eps = norm.num_groups, norm.eps

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x``: ``(batch, channels, rows, frames of this rank)``; ``mask``: ``(batch, frames of this rank)``."""
        assert self.bias is not None
        return normalise(x, mask, self.weight, self.bias, self.groups, self.eps, self.apart, self.axis.sum)


class TimeStatistics(AttentiveStatistics):
    """Attentive pooling over all ranks' frames: the weighted sums are summed over the ranks."""

    axis: Axis

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """From a rank's frames to the whole statistics on every rank."""
        frames = x.flatten(1, 2).transpose(1, 2)
        mask = frame_mask(valid, frames.shape[1])
        score = self.score(frames).squeeze(-1).to(frames.dtype).masked_fill(mask == 0, -torch.inf)
        highest = self.axis.maximum(score.detach().amax(1, keepdim=True).clone())
        weight = (score - highest).exp().unsqueeze(-1)
        sums = summed(torch.cat([(weight * frames).sum(1), weight.sum(1)], 1), self.axis)
        mean, total = sums[:, :-1] / sums[:, -1:], sums[:, -1:]
        around = frames - copied(mean, self.axis).unsqueeze(1)  # each rank compares its own frames with the mean
        variance = summed((weight * around.square()).sum(1), self.axis) / total
        return torch.cat([mean, (variance + 1e-6).sqrt()], 1)


class TimeAttention(Attention):
    """Attention of a rank's frames to all ranks' frames."""

    axis: Axis

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """See ``Attention``; keys, values and their mask come from all ranks."""
        both = copied(gathered(torch.cat([key, value], -1), self.axis, 1), self.axis)
        key, value = both.chunk(2, -1)
        return super().attend(query, key, value, self.axis.gather(mask, 1))


def turned(kind: type[nn.Module]) -> Any:
    """The rule that makes a module one of ``kind``, a subclass of its own with an ``axis``; gradients are partial."""

    def rule(module: nn.Module, axis: Axis) -> nn.Module:
        module.__class__ = kind
        module.axis = axis  # type: ignore[assignment]
        return partial(module, axis)

    return rule


def whole(block: Block, axis: Axis) -> Block:
    """A block that nobody taught to split: each rank gathers all frames, computes it, and goes on with its own."""

    class Whole(type(block)):  # type: ignore[misc]
        def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
            if x.ndim != 4:
                return super().forward(x, valid, seed)  # behind the pooling every rank holds the whole
            y = super().forward(gathered(x, axis, -1), axis.sum(valid.clone()) / axis.size, seed)
            return sliced(y, axis, -1) if y.ndim == 4 else y

    block.__class__ = Whole
    return block


RULES: dict[type[Block], Rule] = {
    Stem: layers(conv=TimeConv),
    Residual: layers(conv1=TimeConv, norm1=TimeNorm, conv2=TimeConv, norm2=TimeNorm, shortcut=TimeConv),
    SelfAttention: layers(attention=turned(TimeAttention), norm1=partial, norm2=partial, up=partial, down=partial),
    AttentiveStatistics: turned(TimeStatistics),
    Dense: layers(),
    Head: layers(),
}
