"""How a chain lies over the ranks of the tensor axis: what both axes share.

Between blocks of a channel split every rank holds the whole activations; of a time split each holds its frames. How a
type of block is split is said once, in ``split_channel`` and ``split_time``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from parallel_ser.models.chain import Block, Chain
from parallel_ser.parallel.grid import Axis


@dataclass(frozen=True)
class Lay:
    """How a parameter lies over the ranks of the tensor axis.

    Attributes:
        dim: along which each rank keeps its part; None where each keeps the whole.
        partial: whether a rank's gradient is only its share of the sum over the ranks.
    """

    dim: int | None = None
    partial: bool = False


WHOLE = Lay()
PARTIAL = Lay(partial=True)

Rule = Callable[[Any, Axis], Block]
"""Makes the split form of a block from a copy of it that shares its parameters, and keeps their names."""


class SplitLayer(nn.Module):
    """A layer that computes with the other ranks of an axis.

    Attributes:
        lays: how its parameters lie, those that are not kept whole.
    """

    lays: dict[str, Lay]
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Module, axis: Axis, **lays: Lay) -> None:
        super().__init__()
        self.axis = axis
        self.lays = {name: lay for name, lay in lays.items() if getattr(layer, name) is not None}
        for name in ("weight", "bias"):
            self.register_parameter(name, _part(getattr(layer, name), self.lays.get(name, WHOLE), axis))


def _part(parameter: nn.Parameter | None, lay: Lay, axis: Axis) -> nn.Parameter | None:
    """The parameter, or this rank's part of it."""
    if parameter is None or lay.dim is None:
        return parameter
    part = axis.slice(parameter.detach(), lay.dim).clone(memory_format=torch.contiguous_format)
    return nn.Parameter(part, parameter.requires_grad)


def pair(numbers: Any) -> tuple[int, int]:
    """A convolution's stride or padding over (rows, frames)."""
    rows, frames = numbers
    return int(rows), int(frames)


def layers(**kinds: Callable[[Any, Axis], nn.Module]) -> Rule:
    """The rule that replaces layers of a block, by their names with ``__`` for a dot; the others stay as they are."""

    def rule(block: Block, axis: Axis) -> Block:
        for name, kind in kinds.items():
            path = name.replace("__", ".")
            holder, last = block.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
            if (layer := getattr(holder, last)) is not None:
                setattr(holder, last, kind(layer, axis))
        return block

    return rule


def partial(layer: nn.Module, axis: Axis) -> nn.Module:
    """A layer that sees one frame at a time: as it is, but a rank's gradients are of its own frames."""
    layer.lays = {name: PARTIAL for name, _ in layer.named_parameters()}  # type: ignore[assignment]
    return layer


def split(chain: Chain, rules: Mapping[type[Block], Rule], axis: Axis, unknown: Rule) -> Chain:
    """The chain with its blocks split; it shares or cuts the given chain's parameters, and leaves that as it is.

    Args:
        chain: the whole, or a stage of it.
        rules: by type of block.
        axis: of the ranks that share it.
        unknown: the rule of a block that has none.
    """
    out = Chain()
    for name, block in chain.named_children():
        twin = copy.deepcopy(block, {id(p): p for p in block.parameters()})
        out.add_module(name, rules.get(type(block), unknown)(twin, axis))  # type: ignore[arg-type]
    return out


def lays(chain: nn.Module) -> dict[str, Lay]:
    """How each parameter of a split chain lies, by its name."""
    found = {name: WHOLE for name, _ in chain.named_parameters()}
    for path, module in chain.named_modules():
        found |= {f"{path}.{name}": lay for name, lay in getattr(module, "lays", {}).items()}
    return found


def copied(x: Tensor, axis: Axis) -> Tensor:
    """Megatron's *f*: each rank goes its own way with the same input, so backward sums their gradients."""
    result: Tensor = _Copied.apply(x, axis)
    return result


def summed(x: Tensor, axis: Axis) -> Tensor:
    """Megatron's *g*: the sum of the ranks' parts, whose gradient is the same for each of them."""
    result: Tensor = _Summed.apply(x, axis)
    return result


def sliced(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """This rank's part of what every rank holds; backward joins the parts of the gradient."""
    result: Tensor = _Sliced.apply(x, axis, dim)
    return result


def gathered(x: Tensor, axis: Axis, dim: int) -> Tensor:
    """The ranks' parts joined, and used alike by each; so backward keeps this rank's part of the gradient."""
    result: Tensor = _Gathered.apply(x, axis, dim)
    return result


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.axis.sum(_own(gradient)), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        return axis.sum(_own(x))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis, dim: int) -> Tensor:
        ctx.axis, ctx.dim = axis, dim
        return axis.slice(x, dim).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.axis.gather(gradient, ctx.dim), None, None


class _Gathered(torch.autograd.Function):
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
