"""From the waveform to frames: the convolutions of wav2vec 2.0 (Baevski et al. 2020), in blocks.

A waveform goes in as ``(batch, 1, 320, frames)``: each frame holds the 320 samples of its hop, 20 ms at 16 kHz. A frame
of the encoder sees 400 samples, so 80 zeros stand behind the last hop, and as many frames come out as go in. Behind the
earlier convolutions stand some more, of which the last of those 400 samples are made: 64 n + 15 behind the first, then
32 n + 7, 16 n + 3 and 8 n + 1. No frame depends on what stands behind its 400 samples, so padding needs no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from parallel_ser.models.blocks import widened
from parallel_ser.models.chain import Block, frame_mask
from parallel_ser.models.encoder.plans import HOP, KERNELS, SEEN, STRIDES, Plan

FIRST = HOP // STRIDES[0]
"""Frames behind the first convolution that a hop gives."""
MORE = (SEEN - HOP) // STRIDES[0] - 1
"""Of them behind those of the last hop."""


class ConvLayer(nn.Module):
    """A convolution over time, a normalisation where there is one, and GELU."""

    def __init__(self, inputs: int, plan: Plan, number: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, plan.channels, KERNELS[number], STRIDES[number], bias=plan.conv_bias)
        nn.init.kaiming_normal_(self.conv.weight)
        self.layer_norm: nn.Module | None = None
        if plan.layer_norm:
            self.layer_norm = ChannelsNorm(plan.channels)
        elif not number:
            self.layer_norm = TimeNormGELU(plan.channels)

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """``(batch, inputs, frames)`` to ``(batch, channels, frames')``; see ``TimeNormGELU`` for what is counted."""
        y = self.conv(x)
        if isinstance(self.layer_norm, TimeNormGELU):
            return self.layer_norm(y, counted)
        if self.layer_norm is not None:
            y = self.layer_norm(y, counted).to(y.dtype)
        return nn.functional.gelu(y)


class ChannelsNorm(nn.LayerNorm):
    """Normalisation of each frame over its channels, on ``(batch, channels, frames)``."""

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:  # type: ignore[override]
        """See the class."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class TimeNormGELU(nn.Module):
    """Normalisation of each channel over the frames that count, torch's GroupNorm with a channel a group; then GELU.

    torchaudio counts padding, too, so that its base models answer differently in a batch than alone; here it is left
    out, and the answer is that of the utterance alone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = 1e-5

    def forward(self, x: Tensor, counted: Tensor) -> Tensor:
        """``x``: ``(batch, channels, frames)``; ``counted``: ``(batch, frames)``, 1 on those that count."""
        y: Tensor = _TimeNormGELU.apply(x, counted, self.weight, self.bias, self.eps, self.total)
        return y

    def total(self, sums: Tensor) -> Tensor:
        """Sums over the pieces of the utterances, where the frames are one of several."""
        return sums


class _TimeNormGELU(torch.autograd.Function):
    """Normalisation over time and GELU with the gradient written out. It keeps its input alone: what enters GELU, the
    extractor's longest activation, is computed again backward.

    With ``n`` counted frames, ``h = (x - mean) / deviation`` and ``y = w h + b``, at every frame::

        dx = (w dy - [counted] (sum(w dy) + h sum(w dy h)) / n) / deviation       sums over all frames
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        counted: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        total: Callable[[Tensor], Tensor],
    ) -> Tensor:
        given, x = x, widened(x)
        mask = counted.to(x.dtype)[:, None, :]
        count = total(mask.sum(2)).clamp_min(1.0)
        spare = x * mask
        mean = total(spare.sum(2)) / count
        # in two passes: the variance of a waveform's convolution may be small beside its mean
        variance = total(torch.sub(x, mean[:, :, None], out=spare).square_().mul_(mask).sum(2)) / count
        inverse = torch.rsqrt(variance + eps)
        ctx.total = total
        ctx.save_for_backward(given, counted, weight, bias, mean, inverse, count)
        scale = inverse * weight
        y = torch.addcmul((bias - mean * scale)[:, :, None], x, scale[:, :, None], out=spare)
        return nn.functional.gelu(y.to(given.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        given, counted, weight, bias, mean, inverse, count = ctx.saved_tensors
        x = widened(given)
        scale = inverse * weight
        y = torch.addcmul((bias - mean * scale)[:, :, None], x, scale[:, :, None]).to(given.dtype)
        dy = widened(torch.ops.aten.gelu_backward.grad_input(gradient, y, grad_input=y))
        dx = (x - mean[:, :, None]).mul_(dy)
        along, plain = dx.sum(2) * inverse, dy.sum(2)
        sums = ctx.total(torch.stack([plain, along])) * weight / count
        b = -sums[1] * inverse.square()
        c = -sums[0] * inverse - b * mean
        torch.addcmul(c[:, :, None], x, b[:, :, None], out=dx)
        dx.mul_(counted.to(x.dtype)[:, None, :]).addcmul_(dy, scale[:, :, None])
        return dx.to(given.dtype), None, along.sum(0), plain.sum(0), None, None


class Convolutions(Block):
    """Some of the extractor's convolutions: ``(batch, channels, 1, frames)`` to fewer frames.

    Args:
        plan: of the encoder.
        numbers: of the convolutions, by which they are named as in torchaudio.
    """

    def __init__(self, plan: Plan, numbers: Sequence[int]) -> None:
        super().__init__()
        layers = {str(one): ConvLayer(plan.channels if one else 1, plan, one) for one in numbers}
        self.conv_layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        return self.convolved(x.squeeze(2), valid)

    def convolved(self, y: Tensor, counted: Tensor) -> Tensor:
        """``(batch, channels, frames)`` through the convolutions, to ``(batch, channels, 1, frames')``."""
        for layer in self.conv_layers.values():
            y = layer(y, counted)
        return y.unsqueeze(2)


class Waveform(Convolutions):
    """The first convolutions, of a waveform ``(batch, 1, 320, frames)``."""

    def __init__(self, plan: Plan, numbers: Sequence[int]) -> None:
        super().__init__(plan, numbers)
        self.normalise = plan.layer_norm

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        mask = frame_mask(valid, x.shape[-1])
        if self.normalise:
            x = self.levelled(x, mask)
        signal = self.followed(x.squeeze(1).transpose(1, 2).flatten(1))
        return self.convolved(signal.unsqueeze(1), self.counted(mask))

    def counted(self, mask: Tensor) -> Tensor:
        """The first convolution's frames ``(batch, 64 frames + 15)`` that are made of real samples, as a mask."""
        places = torch.arange(FIRST * mask.shape[1] + MORE, device=mask.device)
        return places < FIRST * mask.sum(1, keepdim=True) + MORE

    def followed(self, signal: Tensor) -> Tensor:
        """The samples ``(batch, samples)`` and the 80 behind them."""
        return nn.functional.pad(signal, (0, SEEN - HOP))

    def levelled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Each waveform with a mean of zero and a variance of one."""
        real = mask.to(x.dtype)[:, None, None, :]
        count = self.total(real.sum((1, 2, 3)) * HOP)[:, None, None, None].clamp_min(1.0)
        mean = self.total(x.sum((1, 2, 3)))[:, None, None, None] / count
        around = (x - mean) * real
        variance = self.total(around.square().sum((1, 2, 3)))[:, None, None, None] / count
        return around * torch.rsqrt(variance + 1e-5)

    def total(self, sums: Tensor) -> Tensor:
        """Sums over the pieces of the utterances, where the samples are one of several."""
        return sums
