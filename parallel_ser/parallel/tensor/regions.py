"""Entering and leaving a region in which ranks of a tensor dimension compute their own parts (Shoeybi et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from parallel_ser.parallel.comm.dims import Axis


def copy_to_region(x: Tensor, axis: Axis) -> Tensor:
    """Megatron's *f*: each rank goes its own way with the same input, so backward sums their gradients."""
    result: Tensor = _CopyToRegion.apply(x, axis)
    return result


def reduce_from_region(x: Tensor, axis: Axis) -> Tensor:
    """Megatron's *g*: the sum of the ranks' parts, whose gradient is the same for each of them."""
    result: Tensor = _ReduceFromRegion.apply(x, axis)
    return result


def scatter_to_region(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """This rank's part of what every rank holds; backward joins the parts of the gradient."""
    result: Tensor = _ScatterToRegion.apply(x, axis, dim)
    return result


def gather_from_region(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """The ranks' parts joined, and used alike by each; so backward keeps this rank's part of the gradient."""
    result: Tensor = _GatherFromRegion.apply(x, axis, dim)
    return result


class _CopyToRegion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.axis.sum(_own(gradient)), None


class _ReduceFromRegion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        return axis.sum(_own(x))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _ScatterToRegion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return axis.slice(x, dim).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.axis.gather(gradient, ctx.dim), None, None


class _GatherFromRegion(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return axis.gather(x, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.axis.slice(gradient, ctx.dim).contiguous(), None, None


def _own(x: Tensor) -> Tensor:
    """A copy that may be summed into, dense as the collectives want it."""
    dense = x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))
    return x.clone() if dense else x.clone(memory_format=torch.contiguous_format)
