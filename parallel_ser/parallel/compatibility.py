"""What a chain holds that a strategy cannot train exactly: found before the first step, and refused by name.

Each kind of block is tried once, on a small input in one process, and what was found is kept in the cache.
"""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.models.batch import Activations, Inputs, differentiable, example, leaf, tensors
from parallel_ser.models.chain import Chain, call, delay_weight_gradients
from parallel_ser.system.digests import cached_json, write_json
from parallel_ser.system.files import cache_folder, cache_key

VERSION = 4
FRAMES = 32
"""Of the small input, at the most."""


@dataclass(frozen=True)
class Behaviour:
    """What one block did with a small input.

    Attributes:
        changed: buffers that a forward pass changes, such as ``norm.running_mean``.
        random: whether two passes with the same seeds differ: it draws from torch's own generator.
        detached: whether its output has no gradient of its input.
        split: how a backward pass in two halves fails to give the gradients of the whole one; empty where it does not.
    """

    changed: tuple[str, ...] = ()
    random: bool = False
    detached: bool = False
    split: str = ""


def behaviours(chain: Chain, given: Sequence[int] | Inputs, folder: Path | None = None) -> dict[str, Behaviour]:
    """What each block does, by its name, from the cache where it was tried before.

    Args:
        chain: is not changed.
        given: inputs, or their shape.
        folder: of the cache, by default the user's.
    """
    small = _small(example(given, next(chain.parameters()).dtype))
    key = [VERSION, torch.__version__, chain.signature(), str(chain), small.key, sorted(_sources(chain))]
    path = (folder or cache_folder()) / "behaviours" / f"{cache_key(key)}.json"
    if kept := cached_json(path):
        return {name: Behaviour(**{**one, "changed": tuple(one["changed"])}) for name, one in kept.items()}
    found, x = {}, small.x
    for name, block in chain.named_children():
        found[name], x = _tried(copy.deepcopy(block).train(), x, small.beside)
    write_json(path, {name: asdict(one) for name, one in found.items()})
    return found


def _sources(chain: nn.Module) -> set[str]:
    """The code of the modules of a chain: what is kept is forgotten when it changes."""
    return {_source(kind) for kind in map(type, chain.modules())}


@cache
def _source(kind: Any) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # it was typed in, or is no Python
        return f"{kind.__module__}.{kind.__qualname__}"


def _small(inputs: Inputs) -> Inputs:
    """Two utterances, of images the first frames."""
    few = inputs.resized(2)
    return few.mapped(lambda one: one[..., :FRAMES].contiguous() if one.ndim == 4 else one)


def _tried(block: nn.Module, x: Activations, beside: Mapping[str, Tensor]) -> tuple[Behaviour, Activations]:
    """What a copy of a block does, and its output."""
    before = {name: buffer.clone() for name, buffer in block.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        y = call(block, x, beside)
        changed = tuple(name for name, buffer in block.named_buffers() if not torch.equal(buffer, before[name]))
        again = call(block, x, beside)
    differs = not changed and not all(map(torch.equal, tensors(y), tensors(again)))
    own = leaf(x)
    outputs = differentiable(call(block, own, beside))
    inputs = differentiable(own)
    reached = torch.autograd.grad([y.sum() for y in outputs], inputs, allow_unused=True) if outputs and inputs else []
    detached = not any(gradient is not None for gradient in reached)
    trained = any(p.requires_grad for p in block.parameters())
    split = "" if changed or differs or not trained or not (outputs and inputs) else _split_backward(block, x, beside)
    return Behaviour(changed, differs, detached, split), leaf(y, False)


def _split_backward(block: nn.Module, x: Activations, beside: Mapping[str, Tensor]) -> str:
    """How the halves of a backward pass, as zero-bubble schedules compute them, differ from the whole."""
    from parallel_ser.parallel.internals.pipelining import stage_backward_input, stage_backward_weight

    delay_weight_gradients(block)
    weights = {name: p for name, p in block.named_parameters() if p.requires_grad}
    try:
        own = leaf(x)
        outputs, inputs = differentiable(call(block, own, beside)), differentiable(own)
        # their sum is not zero, which would hide what is lost of a parameter that is added to all
        gradients = [torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape) for y in outputs]
        wanted = torch.autograd.grad(outputs, [*inputs, *weights.values()], gradients, allow_unused=True)
        own = leaf(x)
        inputs = differentiable(own)
        outputs = [y * 1.0 for y in differentiable(call(block, own, beside))]  # no view, which torch could not detach
        got_inputs, groups = stage_backward_input(outputs, gradients, inputs, iter(weights.values()))
        stage_backward_weight(iter(weights.values()), groups)
    except Exception as error:  # whatever autograd finds that it cannot do
        return f"it fails ({' '.join(str(error).split())[:120]})"
    got = [*got_inputs, *(p.grad for p in weights.values())]
    for name, mine, whole in zip(["its input"] * len(inputs) + [*weights], got, wanted, strict=True):
        if (mine is None) != (whole is None) or (mine is not None and whole is not None and _far(mine, whole)):
            return f"it gives other gradients of {name}"
    return ""


def _far(ours: Tensor, theirs: Tensor) -> bool:
    tolerance = 1e-9 if theirs.dtype == torch.float64 else 1e-4
    return bool((ours - theirs).norm() > tolerance * theirs.norm().clamp_min(1e-12))


def shared_parameters(chain: Chain) -> list[tuple[str, str]]:
    """Names under which one parameter stands in two blocks, such as ``("embed.weight", "head.weight")``."""
    places: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in chain.named_parameters(remove_duplicate=False):
        places[id(parameter)].append(name)
    blocks = {name: name.partition(".")[0] for names in places.values() for name in names}
    return [(names[0], other) for names in places.values() for other in names[1:] if blocks[other] != blocks[names[0]]]


def validate(
    found: Mapping[str, Behaviour],
    *,
    ranks: int,
    pieces: int,
    zero_bubble: bool,
    recomputes: bool,
    shared: Sequence[tuple[str, str]] = (),
) -> None:
    """Refuse a chain that would not be trained to the weights of one process.

    Args:
        found: what its blocks do.
        ranks: of the run.
        pieces: into which a batch is cut, or padded: micro-batches times copies, and parts along time.
        zero_bubble: whether backward passes are split.
        recomputes: whether forward passes are done again (checkpointing).
        shared: parameters of which blocks on different ranks hold the same.

    Raises:
        UserError: names the block and what works instead.
    """
    if shared:
        first, second = shared[0]
        raise UserError(
            f"{first} and {second} are one parameter, and this strategy would hold it twice and train the two apart: "
            f"cut the chain elsewhere (strategy.stages), or use a strategy with the whole network on each process."
        )
    first_block = next(iter(found), "")
    for name, block in found.items():
        if block.changed and (pieces > 1 or recomputes):
            why = "cut into pieces" if pieces > 1 else "computed twice by strategy.checkpointing"
            raise UserError(
                f"block {name} changes its buffer {block.changed[0]} with each batch that it sees, so a batch "
                f"{why} trains other statistics: use GroupNorm or LayerNorm instead, or strategy.microbatches=1 "
                f"without data parallelism, split along time and checkpointing."
            )
        if block.random and (ranks > 1 or recomputes):
            raise UserError(
                f"block {name} draws from torch's own random generator, so processes would draw other numbers than one "
                f"does: draw from the seeds that a block is given, as parallel_ser.models.blocks.Dropout does."
            )
        if block.detached and ranks > 1 and name != first_block:
            raise UserError(
                f"block {name} gives its input no gradient, so nothing before it is trained, and what processes send "
                f"each other would differ from what one computes: train it in one process, or split the network there."
            )
        if block.split and zero_bubble and name != first_block:  # whose stage's backward pass is whole
            raise UserError(
                f"block {name} cannot have its backward pass split, which zero-bubble schedules do: {block.split}; "
                f"use strategy.schedule=1f1b or interleaved1f1b."
            )
