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

from parallel_ser.errors import UserError
from parallel_ser.models.attention import Attention, SelfAttention
from parallel_ser.models.batch import Activations, Inputs, each, tensors
from parallel_ser.models.blocks import (
    AttentiveStatistics,
    Dense,
    Head,
    MaskedGroupNorm,
    Residual,
    Stem,
    frames_of,
    normalise,
)
from parallel_ser.models.branch import VectorBranch, VectorLayer
from parallel_ser.models.chain import named
from parallel_ser.models.cnn import TIME_STRIDE
from parallel_ser.models.conformer import ConformerLayer
from parallel_ser.models.frames import EncoderLayer, Project
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.tensor.placement import (
    PARTIAL,
    Rule,
    SplitLayer,
    layers,
    pair,
    partial,
)
from parallel_ser.parallel.tensor.regions import (
    copy_to_region,
    gather_from_region,
    reduce_from_region,
    scatter_to_region,
)


def local_shares(valid: Tensor, axis: Axis) -> Tensor:
    """The share of this rank's frames that is real, from the share of all frames, both ``(batch,)``."""
    return (valid * axis.size - axis.rank).clamp(0.0, 1.0)


def local_frames(inputs: Inputs, axis: Axis) -> Inputs:
    """A rank's frames of inputs: as many on each, a number that the strides of the models divide.

    Raises:
        UserError: the inputs are no images ``(batch, channels, rows, frames)``.
    """
    if not inputs.images:
        raise UserError(
            "strategy.axis=time splits the last dimension of one tensor (batch, channels, rows, frames), and these "
            "inputs are none: use strategy.axis=channel or another strategy."
        )
    wide = inputs.widened(TIME_STRIDE * axis.size)
    return Inputs(axis.slice(wide.x, -1), local_shares(wide.valid, axis), wide.seed, wide.extras)


class _HaloConvolution(torch.autograd.Function):
    """A convolution over a rank's frames and its neighbours' edges, which pass while it computes.

    By its linearity: it computes as if its own frames were all, with zeros around them, and then adds to the outermost
    output what the edge that has come adds. So nothing is copied to make room for the edges, and nothing is waited for
    before there is something to do; backward likewise.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        axis: Axis,
        stride: tuple[int, int],
        padding: tuple[int, int],
        left: int,
        right: int,
    ) -> Tensor:
        frames = x.shape[-1]
        before, after = x.new_zeros(*x.shape[:-1], left), x.new_zeros(*x.shape[:-1], right)
        # my first frames are what the left neighbour has on its right
        swap = axis.neighbours(x[..., :right].contiguous(), x[..., frames - left :].contiguous(), before, after)
        y = F.conv2d(x, weight, bias, stride, padding)
        swap.wait()
        ctx.edges = _edges(axis, left, right, y.shape[-1])
        for place, (output, columns) in ctx.edges.items():
            edge, part = (before, after)[place], weight[..., columns]
            y[..., output] += F.conv2d(edge, part, None, _edge_stride(stride), (padding[0], 0))
        ctx.save_for_backward(x, weight, before, after)
        ctx.axis, ctx.stride, ctx.padding, ctx.biased = axis, stride, padding, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *edges = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        frames, (left, right) = x.shape[-1], (edge.shape[-1] for edge in edges)
        sums: list[tuple[slice, Tensor]] = []
        sent = [torch.zeros_like(edge) for edge in edges]
        for place, (output, columns) in ctx.edges.items():
            part, stride, padding = gradient[..., output], _edge_stride(ctx.stride), (ctx.padding[0], 0)
            asked = wanted[0], wanted[1], False
            given, added, _ = _backward(part, edges[place], weight[..., columns], stride, padding, asked)
            sums.append((columns, added))
            if wanted[0]:
                sent[place] = given.contiguous()
        came = x.new_zeros(*x.shape[:-1], right), x.new_zeros(*x.shape[:-1], left)
        swap = ctx.axis.neighbours(*sent, *came) if wanted[0] else None
        dx, d_weight, d_bias = _backward(
            gradient, x, weight, ctx.stride, ctx.padding, (wanted[0], wanted[1], wanted[2] and ctx.biased)
        )
        if swap:
            swap.wait()
            if ctx.axis.rank:
                dx[..., :right] += came[0]
            if ctx.axis.rank < ctx.axis.size - 1:
                dx[..., frames - left :] += came[1]
        if wanted[1]:
            for columns, added in sums:
                d_weight[..., columns] += added
        return dx, d_weight, d_bias, None, None, None, None, None


def _edges(axis: Axis, left: int, right: int, frames: int) -> dict[int, tuple[slice, slice]]:
    """Of each edge that there is (0 left, 1 right) the frame of the output and the kernel's columns that see it."""
    found = {}
    if left and axis.rank:
        found[0] = slice(0, 1), slice(0, left)
    if right and axis.rank < axis.size - 1:
        found[1] = slice(frames - 1, frames), slice(-right, None)
    return found


def _edge_stride(stride: tuple[int, int]) -> tuple[int, int]:
    """An edge gives one frame, so its stride along time says nothing.

    At one frame and a stride of 2, oneDNN's gradient of bfloat16 weights is NaN when what lies behind the input is: it
    reads on (3.10, x86).
    """
    return stride[0], 1


def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> Any:
    """The gradients of a convolution's input, weight and bias, those that are wanted."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], stride, padding, (1, 1), False, (0, 0), 1, wanted
    )


def _cast(x: Tensor) -> Tensor:
    """As autocast gives it to torch's own convolution."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if kind != "meta" and torch.is_autocast_enabled(kind) else x


class TimeConv(SplitLayer):
    """A convolution over a rank's frames and the halo that it needs; its stride divides the rank's frames."""

    def __init__(self, conv: nn.Conv2d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=PARTIAL, bias=PARTIAL)
        self.stride, self.padding = pair(conv.stride), pair(conv.padding)
        # output o reads the frames from o·stride − padding up to o·stride − padding + kernel
        self.left, self.right = self.padding[1], max(0, conv.kernel_size[1] - self.padding[1] - self.stride[1])
        assert max(self.left, self.right) <= self.stride[1], "an edge is seen by one output"

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, rows, frames of this rank)``."""
        if not (self.left or self.right):
            return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        inputs = (None if one is None else _cast(one) for one in (x, self.weight, self.bias))
        y: Tensor = _HaloConvolution.apply(*inputs, self.axis, self.stride, self.padding, self.left, self.right)
        return y


class _Edged(torch.autograd.Function):
    """A rank's frames with its neighbours' edges beside them, and zeros at the ends of the axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, edge: int) -> Tensor:
        ctx.axis, ctx.edge = axis, edge
        before, after = x.new_zeros(*x.shape[:-1], edge), x.new_zeros(*x.shape[:-1], edge)
        axis.neighbours(x[..., :edge].contiguous(), x[..., -edge:].contiguous(), before, after).wait()
        return torch.cat([before, x, after], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        edge, axis = ctx.edge, ctx.axis
        before, own, after = gradient.split([edge, gradient.shape[-1] - 2 * edge, edge], -1)
        left, right, own = own.new_zeros(before.shape), own.new_zeros(after.shape), own.clone()
        axis.neighbours(before.contiguous(), after.contiguous(), left, right).wait()
        own[..., :edge] += left
        own[..., -edge:] += right
        return own, None, None


class TimeDepthwise(SplitLayer):
    """A convolution of each channel by itself over a rank's frames and the edges that it needs."""

    def __init__(self, conv: nn.Conv2d, axis: Axis) -> None:
        super().__init__(conv, axis, weight=PARTIAL, bias=PARTIAL)
        self.padding = pair(conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, rows, frames of this rank)``.

        Raises:
            UserError: a rank has fewer frames than an edge.
        """
        rows, edge = self.padding
        if x.shape[-1] < edge:
            raise UserError(
                f"strategy.axis=time leaves {x.shape[-1]} frames to each process, and a convolution of {2 * edge + 1} "
                f"frames needs {edge}: use fewer processes, a smaller model.options.kernel or strategy.axis=channel."
            )
        wide = _Edged.apply(x, self.axis, edge)
        return F.conv2d(wide, self.weight, self.bias, 1, (rows, 0), groups=len(self.weight))


class TimeNorm(SplitLayer):
    """A masked group normalisation over all ranks' frames."""

    split_weight_grad = False

    def __init__(self, norm: MaskedGroupNorm, axis: Axis) -> None:
        super().__init__(norm, axis, weight=PARTIAL, bias=PARTIAL)
        self.groups, self.eps = norm.num_groups, norm.eps

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x``: ``(batch, channels, rows, frames of this rank)``; ``mask``: ``(batch, frames of this rank)``."""
        assert self.bias is not None
        return normalise(x, mask, self.weight, self.bias, self.groups, self.eps, self.split_weight_grad, self.axis.sum)


class TimeStatistics(AttentiveStatistics):
    """Attentive pooling over all ranks' frames: the weighted sums are summed over the ranks."""

    axis: Axis

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """From a rank's frames to the whole statistics on every rank."""
        frames, mask = frames_of(x, valid)
        score = self.score(frames).squeeze(-1).to(frames.dtype).masked_fill(mask == 0, -torch.inf)
        highest = self.axis.maximum(score.detach().amax(1, keepdim=True).clone())
        weight = (score - highest).exp().unsqueeze(-1)
        sums = reduce_from_region(torch.cat([(weight * frames).sum(1), weight.sum(1)], 1), self.axis)
        mean, total = sums[:, :-1] / sums[:, -1:], sums[:, -1:]
        around = frames - copy_to_region(mean, self.axis).unsqueeze(
            1
        )  # each rank compares its own frames with the mean
        variance = reduce_from_region((weight * around.square()).sum(1), self.axis) / total
        return torch.cat([mean, (variance + 1e-6).sqrt()], 1)


class TimeAttention(Attention):
    """Attention of a rank's frames to all ranks' frames."""

    axis: Axis

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """See ``Attention``; keys, values and their mask come from all ranks."""
        both = copy_to_region(gather_from_region(torch.cat([key, value], -1), self.axis, 1), self.axis)
        key, value = both.chunk(2, -1)
        return super().attend(query, key, value, self.axis.gather(mask, 1))


def turned(kind: type[nn.Module]) -> Any:
    """The rule that makes a module one of ``kind``, a subclass of its own with an ``axis``; gradients are partial."""

    def rule(module: nn.Module, axis: Axis) -> nn.Module:
        module.__class__ = kind
        module.axis = axis  # type: ignore[assignment]
        return partial(module, axis)

    return rule


def whole(block: nn.Module, axis: Axis) -> nn.Module:
    """A block without a rule: each rank gathers all frames, computes it, and goes on with its own.

    What is no image ``(batch, channels, rows, frames)`` every rank holds whole: behind the pooling, or beside them.
    """
    kind = type(block)

    class Whole(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: Activations, valid: Tensor, **beside: Tensor) -> Activations:
            images = any(one.ndim == 4 for one in tensors(x))
            if images:
                x = each(lambda one: gather_from_region(one, axis, -1) if one.ndim == 4 else one, x)
                valid = axis.sum(valid.clone()) / axis.size
            y: Activations = super().forward(x, **named(kind, {**beside, "valid": valid}))
            return each(lambda one: scatter_to_region(one, axis, -1) if one.ndim == 4 else one, y) if images else y

    block.__class__ = Whole
    return block


RULES: dict[type[nn.Module], Rule] = {
    Stem: layers(conv=TimeConv),
    Residual: layers(conv1=TimeConv, norm1=TimeNorm, conv2=TimeConv, norm2=TimeNorm, shortcut=TimeConv),
    SelfAttention: layers(attention=turned(TimeAttention), norm1=partial, norm2=partial, up=partial, down=partial),
    AttentiveStatistics: turned(TimeStatistics),
    Project: layers(linear=partial),
    EncoderLayer: layers(attention=turned(TimeAttention), norm1=partial, norm2=partial, up=partial, down=partial),
    ConformerLayer: layers(
        first=partial,
        norm=partial,
        attention=turned(TimeAttention),
        convolution__norm=partial,
        convolution__value=partial,
        convolution__gate=partial,
        convolution__depthwise=TimeDepthwise,
        convolution__group_norm=TimeNorm,
        convolution__out=partial,
        second=partial,
        last=partial,
    ),
    Dense: layers(),
    VectorBranch: layers(),
    VectorLayer: layers(),
    Head: layers(),
}
