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
from torch import nn

from parallel_ser.models.chain import Chain
from parallel_ser.parallel.comm.dims import Axis


@dataclass(frozen=True)
class Placement:
    """How a parameter lies over the ranks of a dimension of the mesh.

    In torch's words: ``Shard(dim)``, or ``Replicate`` where ``dim`` is None; its gradient is ``Partial`` where a rank
    has only its share of the sum over the ranks.

    Attributes:
        dim: along which each rank keeps its part; None where each keeps the whole.
        partial: see above.
        over: the dimension, ``tensor`` or ``data``.
    """

    dim: int | None = None
    partial: bool = False
    over: str = "tensor"


REPLICATE = Placement()
PARTIAL = Placement(partial=True)

Rule = Callable[[Any, Axis], nn.Module]
"""Makes the split form of a block from a copy of it that shares its parameters, and keeps their names."""


class SplitLayer(nn.Module):
    """A layer that computes with the other ranks of an axis.

    Attributes:
        placements: how its parameters lie, those that are not kept whole.
    """

    placements: dict[str, Placement]
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Module, axis: Axis, **placements: Placement) -> None:
        super().__init__()
        self.axis = axis
        self.placements = {
            name: placement for name, placement in placements.items() if getattr(layer, name) is not None
        }
        for name in ("weight", "bias"):
            self.register_parameter(name, _part(getattr(layer, name), self.placements.get(name, REPLICATE), axis))


def _part(parameter: nn.Parameter | None, placement: Placement, axis: Axis) -> nn.Parameter | None:
    """The parameter, or this rank's part of it."""
    if parameter is None or placement.dim is None:
        return parameter
    part = axis.slice(parameter.detach(), placement.dim).clone(memory_format=torch.contiguous_format)
    return nn.Parameter(part, parameter.requires_grad)


def place(module: nn.Module, axis: Axis, **placements: Placement) -> nn.Module:
    """A module with this rank's parts of its named parameters."""
    for name, placement in placements.items():
        setattr(module, name, _part(getattr(module, name), placement, axis))
    module.placements = placements  # type: ignore[assignment]
    return module


def pair(numbers: Any) -> tuple[int, int]:
    """A convolution's stride or padding over (rows, frames)."""
    rows, frames = numbers
    return int(rows), int(frames)


def layers(**kinds: Callable[[Any, Axis], nn.Module]) -> Rule:
    """The rule that replaces layers of a block, by their names with ``__`` for a dot; the others stay as they are."""

    def rule(block: nn.Module, axis: Axis) -> nn.Module:
        for name, kind in kinds.items():
            path = name.replace("__", ".")
            holder, last = block.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
            if (layer := getattr(holder, last)) is not None:
                setattr(holder, last, kind(layer, axis))
        return block

    return rule


def partial(layer: nn.Module, axis: Axis) -> nn.Module:
    """A layer that sees one frame at a time: as it is, but a rank's gradients are of its own frames."""
    layer.placements = {name: PARTIAL for name, _ in layer.named_parameters()}  # type: ignore[assignment]
    return layer


def split(chain: Chain, rules: Mapping[type[nn.Module], Rule], axis: Axis, unknown: Rule) -> Chain:
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
        out.add_module(name, rules.get(type(block), unknown)(twin, axis))
    return out


def placements(chain: nn.Module) -> dict[str, Placement]:
    """How each parameter of a split chain lies, by its name."""
    found = {name: REPLICATE for name, _ in chain.named_parameters()}
    for path, module in chain.named_modules():
        found |= {f"{path}.{name}": placement for name, placement in getattr(module, "placements", {}).items()}
    return found
