"""The blocks of the convolutional networks, on batches of utterances of unequal length.

Padded frames are kept at zero. A convolution then sees at an utterance's end what it would see without a batch
around it, and statistics over time are taken over real frames: an utterance's logits do not depend on its padding.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from parallel_ser.models.chain import Block, frame_mask, hashed_uniform


class MaskedGroupNorm(nn.GroupNorm):
    """GroupNorm whose mean and variance are over real frames (Wu & He 2018); padding comes out as zero.

    Attributes:
        split_weight_grad: whether autograd's own operations scale and shift, see ``normalise``.
    """

    split_weight_grad = False

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """``x``: ``(batch, channels, rows, frames)``, whatever it holds in padding; ``mask``: ``(batch, frames)``."""
        return normalise(x, mask, self.weight, self.bias, self.num_groups, self.eps, self.split_weight_grad)


def normalise(
    x: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    split_weight_grad: bool = False,
    total: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Masked group normalisation, see ``MaskedGroupNorm``.

    Args:
        x: ``(batch, channels, rows, frames)``.
        mask: ``(batch, frames)``, 1 on real frames.
        weight: ``(channels,)``.
        bias: ``(channels,)``.
        groups: of channels.
        eps: added to the variance.
        split_weight_grad: scale and shift in operations of autograd's own. It takes one activation more, and is what
            autograd needs to compute the parameters' gradients at another time than the input's.
        total: sums over the pieces of the utterances, where ``x`` is one of several.
    """
    one, zero = (torch.ones_like(weight), torch.zeros_like(bias)) if split_weight_grad else (weight, bias)
    y: Tensor = _Normalise.apply(x, mask, one, zero, groups, eps, total or _alone)
    if split_weight_grad:
        y = torch.addcmul(bias[:, None, None], y, weight[:, None, None]) * mask.to(y.dtype)[:, None, None, :]
    return y


def _alone(sums: Tensor) -> Tensor:
    """The sums over the pieces of utterances that are in one piece."""
    return sums


class _Normalise(torch.autograd.Function):
    """Masked group normalisation with its gradient written out.

    With ``n`` real values in a group, ``h = (x - mean) / deviation`` and ``y = w h + b``::

        dx = (w dy - mean_n(w dy) - h mean_n(w dy h)) / deviation       on real frames, and 0 on padding

    Autograd would make a dozen passes over the activations and keep several copies of them; this keeps one. The mask
    costs no pass: sums over real frames are products with it, and scale and shift are zero on padding.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor,
        groups: int,
        eps: float,
        total: Callable[[Tensor], Tensor],
    ) -> Tensor:
        given, x = x, widened(x)
        mask = mask.to(x.dtype)
        batch, channels, rows, _ = x.shape
        grouped = (batch, groups, channels // groups)
        with _no_autocast(x):  # sums in bfloat16 would lose the variance
            own = torch.cat([_sums(x, mask), _sums(x * x, mask), mask.sum(1, keepdim=True)], 1)
        sums = total(own)
        count = sums[:, -1:].clamp_min(1.0) * (rows * grouped[2])
        mean = sums[:, :channels].view(grouped).sum(2) / count
        square = sums[:, channels:-1].view(grouped).sum(2) / count
        inverse = torch.rsqrt((square - mean.square()).clamp_min(0.0) + eps)
        scale = inverse.repeat_interleave(grouped[2], 1) * weight
        shift = bias - mean.repeat_interleave(grouped[2], 1) * scale
        ctx.total = total
        ctx.save_for_backward(given, mask, weight, mean, inverse, count)
        return torch.addcmul(_framed(shift, mask), x, _framed(scale, mask))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        given, mask, weight, mean, inverse, count = ctx.saved_tensors
        x = widened(given)
        channels, groups = x.shape[1], mean.shape[1]
        grouped = (len(x), groups, channels // groups)
        mean_c, inverse_c = (one.repeat_interleave(grouped[2], 1) for one in (mean, inverse))
        sums = _sums(gradient, mask)
        sums = torch.cat([sums, (_sums(gradient * x, mask) - mean_c * sums) * inverse_c], 1)
        d_bias, d_weight = sums.sum(0).split(channels)
        sums = ctx.total(sums)
        total, along = sums[:, :channels], sums[:, channels:]  # of dy and of dy h, per utterance and channel
        first = (weight * total).view(grouped).sum(2) / count
        second = (weight * along).view(grouped).sum(2) / count
        # dx = a dy + b x + c
        a = weight * inverse_c
        b = -(second * inverse.square()).repeat_interleave(grouped[2], 1)
        c = (second * inverse.square() * mean - first * inverse).repeat_interleave(grouped[2], 1)
        dx = torch.addcmul(_framed(c, mask), x, _framed(b, mask)).addcmul_(gradient, _framed(a, mask))
        return dx, None, d_weight, d_bias, None, None, None


def _sums(x: Tensor, mask: Tensor) -> Tensor:
    """Sums ``(batch, channels)`` of ``x`` ``(batch, channels, rows, frames)`` over its rows and real frames."""
    batch, channels, rows, frames = x.shape
    veil = mask[:, None, None, :].expand(batch, 1, rows, frames).reshape(batch, 1, rows * frames)
    return torch.bmm(veil, x.permute(0, 2, 3, 1).reshape(batch, rows * frames, channels))[:, 0]


def _framed(values: Tensor, mask: Tensor) -> Tensor:
    """``values`` ``(batch, channels)`` on each real frame: ``(batch, channels, 1, frames)``, laid channels-last."""
    return (mask[:, None, :, None] * values[:, None, None, :]).permute(0, 3, 1, 2)


def _no_autocast(x: Tensor) -> torch.autocast:
    """A context in which products are computed in their factors' type."""
    return torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False)


def widened(x: Tensor) -> Tensor:
    """Single precision of what is narrower: for sums over many frames."""
    return x if x.dtype == torch.float64 else x.float()


def frames_of(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """``(batch, frames, features)`` and the mask ``(batch, frames)`` of ``(batch, channels, rows, frames)``."""
    return widened(x).flatten(1, 2).transpose(1, 2), frame_mask(valid, x.shape[-1])


def convolution(inputs: int, outputs: int, stride: tuple[int, int], rows: int = 3) -> nn.Conv2d:
    """A convolution over ``rows`` and three frames without bias: the normalisation behind it has one."""
    return nn.Conv2d(inputs, outputs, (rows, 3), stride=stride, padding=(rows // 2, 1), bias=False)


class Stem(Block):
    """Convolution and rectifier: ``(batch, 1, rows, frames)`` to ``(batch, channels, rows', frames')``.

    Without normalisation: over a whole utterance that would take away how loud it is, which tells emotions apart. The
    shortcuts of the residual blocks carry it on.
    """

    def __init__(self, channels: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, stride=stride, padding=1)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        x = self.conv(x)
        return x.relu_() * frame_mask(valid, x.shape[-1]).to(x.dtype)[:, None, None, :]


class Residual(Block):
    """Two convolutions over ``rows`` and three frames, and a shortcut (He et al. 2016), with GroupNorm."""

    def __init__(self, inputs: int, outputs: int, groups: int, stride: tuple[int, int], rows: int = 3) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, stride, rows)
        self.norm1 = MaskedGroupNorm(groups, outputs)
        self.conv2 = convolution(outputs, outputs, (1, 1), rows)
        self.norm2 = MaskedGroupNorm(groups, outputs)
        plain = inputs == outputs and stride == (1, 1)
        self.shortcut = None if plain else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """``(batch, inputs, rows, frames)`` to ``(batch, outputs, rows', frames')``, of the convolutions' type."""
        y = self.conv1(x)
        mask, computed = frame_mask(valid, y.shape[-1]), y.dtype
        y = self.conv2(self.norm1(y, mask).to(computed).relu_())
        y = self.norm2(y, mask).to(computed)
        return (y + (x.to(computed) if self.shortcut is None else self.shortcut(x))).relu_()


class AttentiveStatistics(Block):
    """Attentive statistics pooling (Okabe, Koshinaka & Shinoda 2018): a weighted mean and deviation over real frames.

    ``(batch, channels, rows, frames)`` to ``(batch, 2 · channels · rows)``.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        frames, mask = frames_of(x, valid)
        score = self.score(frames).squeeze(-1).to(frames.dtype).masked_fill(mask == 0, -torch.inf)
        weight = score.softmax(1).unsqueeze(-1)
        mean = (weight * frames).sum(1)
        variance = (weight * (frames - mean.unsqueeze(1)).square()).sum(1)
        return torch.cat([mean, (variance + 1e-6).sqrt()], 1)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose draws are a function of the utterance's seed and this layer's name."""

    def __init__(self, share: float, name: str) -> None:
        super().__init__()
        self.share = share
        self.stream = zlib.crc32(name.encode())

    def forward(self, x: Tensor, seed: Tensor) -> Tensor:
        """``x``: ``(batch, features)``."""
        if not self.training or self.share == 0.0:
            return x
        keep = hashed_uniform(seed, self.stream, x.shape[1]) >= self.share
        return x * (keep.to(x.dtype) / (1.0 - self.share))


class FrameDropout(Dropout):
    """Dropout with one draw for all frames of a feature: the same however the frames are divided."""

    def forward(self, x: Tensor, seed: Tensor) -> Tensor:
        """``x``: ``(batch, frames, features)``."""
        if not self.training or self.share == 0.0:
            return x
        return x * super().forward(x.new_ones(len(x), x.shape[-1]), seed)[:, None, :]


class Dense(Block):
    """Dropout, linear, LayerNorm, rectifier: ``(batch, inputs)`` to ``(batch, outputs)``."""

    def __init__(self, inputs: int, outputs: int, dropout: float, name: str) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, name)
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        return self.norm(self.linear(self.dropout(x, seed)).to(x.dtype)).relu()


class Head(Block):
    """Dropout and a linear layer: ``(batch, inputs)`` to logits ``(batch, classes)``."""

    def __init__(self, inputs: int, classes: int, dropout: float, name: str) -> None:
        super().__init__()
        self.dropout = Dropout(dropout, name)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """See the class."""
        return self.linear(self.dropout(x, seed)).to(x.dtype)


def classifier(features: int, hidden: int, classes: int, dropout: float) -> Iterator[tuple[str, Block]]:
    """What ends a chain over frames: attentive pooling of ``features`` a frame, a dense layer, and the logits."""
    yield from embedding(features, hidden, dropout)
    yield "head", Head(hidden, classes, dropout, "head")


def embedding(features: int, hidden: int, dropout: float) -> Iterator[tuple[str, Block]]:
    """From frames of ``features`` each to ``(batch, hidden)``: attentive pooling and a dense layer."""
    yield "pool", AttentiveStatistics(features, hidden)
    yield "embed", Dense(2 * features, hidden, dropout, "embed")
