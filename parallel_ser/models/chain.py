"""The chain: an ordered list of named blocks, each taking a tensor or a tuple of tensors to one.

Beside the activations a block gets what its ``forward`` names of the facts about the batch, whatever its depth:

``valid`` ``(batch,)``
    the share of each utterance's frames that is real. A share holds at every depth, whatever the strides before it:
    of ``t`` frames the first ``ceil(valid · t)`` are real and the rest is padding, which must not change a result.
``seed`` ``(batch,)``
    an integer per utterance and step, from which a block draws its random numbers. So the draws do not depend on
    which process computes the block, or on how the batch is cut into micro-batches.
and ``extras`` of the batch, by their names.

Any module is a block: one whose ``forward`` takes activations alone is given these alone.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.models.batch import Activations, Inputs, tensors
from parallel_ser.models.recurrence import WholeRecurrence


class Block(nn.Module):
    """One named link of a chain; what a strategy may not cut through."""

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """Take activations ``(batch, ...)`` to activations ``(batch, ...)``, contiguous and floating."""
        raise TypeError(f"{type(self).__name__} is a block without a forward")


@cache
def _asked(forward: Callable[..., Any]) -> tuple[tuple[str, ...], frozenset[str], bool]:
    """Names that a ``forward`` has beside its first, those that it needs, and whether it takes any."""
    parameters = list(inspect.signature(forward).parameters.values())[2:]
    names = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = frozenset(p.name for p in names if p.default is p.empty)
    return tuple(p.name for p in names), needed, any(p.kind is p.VAR_KEYWORD for p in parameters)


def named(kind: type[nn.Module], beside: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What the ``forward`` of a module names of what goes beside the activations.

    Raises:
        UserError: it names something that the batch does not have.
    """
    names, needed, takes_any = _asked(kind.forward)
    if lacking := needed - beside.keys():
        raise UserError(
            f"{kind.__name__}.forward asks for {sorted(lacking)[0]}, which the batch does not have; it has "
            f"{', '.join(sorted(beside))}."
        )
    return beside if takes_any else {name: beside[name] for name in names if name in beside}


def call(block: nn.Module, x: Activations, beside: Mapping[str, Tensor]) -> Activations:
    """A block's output; see ``named``. On the meta device recurrent layers are ``recurrence.WholeRecurrence``."""
    with WholeRecurrence() if tensors(x)[0].is_meta else nullcontext():
        y: Activations = block(x, **named(type(block), beside))
    return y


class Chain(nn.Sequential):
    """Named blocks in order; they keep their names in a part of the chain.

    Attributes:
        rules: how blocks of a user's own are split, by axis and type; see ``parallel.tensor.placement``.
    """

    rules: Mapping[str, Mapping[type[nn.Module], Any]] = {}

    def forward(self, x: Activations, valid: Tensor, seed: Tensor, **extras: Tensor) -> Activations:  # type: ignore[override]
        """Run all blocks.

        Args:
            x: what the first takes: of a speech model ``(batch, 1, rows, frames)``, zero where padded.
            valid: ``(batch,)`` share of real frames.
            seed: ``(batch,)`` int64.
            extras: ``(batch, ...)`` each.
        """
        beside = {"valid": valid, "seed": seed, **extras}
        for block in self:
            x = call(block, x, beside)
        return x

    def skeleton(self) -> Chain:
        """A copy on the meta device: it has shapes and no memory, and computing with it computes nothing."""
        memo: dict[int, Tensor] = {
            id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in self.parameters()
        }
        memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in self.buffers()}
        return copy.deepcopy(self, memo)

    def edges(self, inputs: Inputs) -> list[Activations]:
        """What enters each block and what leaves the last, on the meta device; computes nothing."""
        dtype = next(self.parameters()).dtype

        def empty(tensor: Tensor) -> Tensor:
            return torch.empty_like(tensor, device="meta", dtype=dtype if tensor.is_floating_point() else None)

        inputs = inputs.mapped(empty)
        every = [inputs.x]
        with torch.no_grad():
            for block in self if next(self.parameters()).is_meta else self.skeleton():
                every.append(call(block, every[-1], inputs.beside))
                if not all(isinstance(one, Tensor) for one in tensors(every[-1])):
                    raise UserError(
                        f"{type(block).__name__} gives {type(every[-1]).__name__}, and a block gives a tensor or a "
                        f"tuple of tensors: wrap it in a module whose forward returns one."
                    )
        return every

    def part(self, start: int, stop: int) -> Chain:
        """The blocks from ``start`` up to ``stop``; they and their names are this chain's own."""
        part = Chain(OrderedDict(list(self.named_children())[start:stop]))
        part.rules = self.rules
        return part

    def signature(self) -> dict[str, list[int]]:
        """Names and shapes of all that is stored: two chains with the same signature can share a checkpoint."""
        return {name: list(tensor.shape) for name, tensor in stored(self).items()}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take what is stored of a chain with the same signature."""
        with torch.no_grad():
            for name, tensor in stored(self).items():
                tensor.copy_(weights[name])


def chain_of(model: nn.Sequential) -> Chain:
    """A chain of a model's modules, which keep their names."""
    return Chain(OrderedDict(model.named_children()))


def seeded(blocks: Callable[[], Iterable[tuple[str, nn.Module]]], seed: int) -> Chain:
    """A chain of named blocks whose weights follow from the seed; no global random state is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Chain(OrderedDict(blocks()))


def delay_weight_gradients(module: nn.Module, delayed: bool = True) -> None:
    """Have what computes its gradients itself leave them to autograd, so that those of weights can come later than
    those of inputs, or not."""
    for one in module.modules():
        if hasattr(one, "split_weight_grad"):
            one.split_weight_grad = delayed  # type: ignore[assignment]


def stored(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, by name; of those that stand under several names the first."""
    kept = module.state_dict(keep_vars=True)
    names = [*(name for name, _ in module.named_parameters()), *(name for name, _ in module.named_buffers())]
    return {name: kept[name] for name in names if name in kept}


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """The mask ``(batch, frames)`` that is 1 on real frames.

    The small term keeps a share such as 0.6 of 5 frames, stored as 0.6000000238, from counting a fourth one.
    """
    real = torch.ceil(valid * frames - 1e-3)
    return (torch.arange(frames, device=valid.device) < real[:, None]).to(valid.dtype)


def hashed_uniform(seed: Tensor, stream: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), ``(batch, count)``, each a function of its seed, the stream and its place alone.

    A 32-bit avalanche (Chris Wellons' ``lowbias32``) in 64-bit integers: no generator's state, so no process order.
    """

    def avalanche(z: Tensor) -> Tensor:
        z = ((z ^ (z >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
        z = ((z ^ (z >> 15)) * 0x846CA68B) & 0xFFFFFFFF
        return z ^ (z >> 16)

    if seed.is_meta:  # a skeleton draws nothing
        return torch.empty(len(seed), count, dtype=torch.float64, device=seed.device)
    place = torch.arange(count, device=seed.device, dtype=torch.int64)
    start = avalanche((seed ^ (seed >> 32)) & 0xFFFFFFFF) ^ (stream & 0xFFFFFFFF)
    return avalanche((avalanche(start)[:, None] + place * 0x9E3779B9) & 0xFFFFFFFF).double().div(2.0**32)
