"""What a planner must know of a chain: profiles of the whole and of its parts, at any size of micro-batch.

A part of a block that is split over ranks is measured in one process too: an axis that only counts stands in for the
other ranks, so that the rank's own work is done and timed, and its messages are counted and not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from parallel_ser.models.batch import Activations, Inputs, differentiable, example, leaf, tensors
from parallel_ser.models.chain import Chain, call
from parallel_ser.parallel.comm.dims import Axis
from parallel_ser.parallel.comm.messages import TimedWork
from parallel_ser.parallel.compatibility import Behaviour, behaviours
from parallel_ser.parallel.cost.block_profile import GROWING, BlockProfile, estimate, is_heavy, profile, scaled, time_of
from parallel_ser.parallel.tensor.rules import split_blocks
from parallel_ser.parallel.tensor.time import local_frames
from parallel_ser.parallel.tracing.stats import CommStats

Numbers = tuple[int, ...]


class CountingAxis(Axis):
    """The first of several ranks, alone: what it sends is counted, and what it would receive is made up."""

    def count(self, kind: str, size: float) -> None:
        """A message of ``size`` bytes."""
        self.stats.sent[kind] += round(size)
        self.stats.calls[kind] += 1

    def sum(self, x: Tensor) -> Tensor:
        """As it is."""
        self.count("collective", 2 * (self.size - 1) / self.size * x.numel() * x.element_size())
        return x

    maximum = sum

    def gather(self, x: Tensor, dim: int) -> Tensor:
        """Copies of it."""
        self.count("collective", (self.size - 1) * x.numel() * x.element_size())
        return torch.cat([x] * self.size, dim)

    def neighbours(self, to_left: Tensor, to_right: Tensor, left: Tensor, right: Tensor) -> TimedWork:
        """Nothing; a rank in the middle sends both ways, and of two ranks none is there."""
        sizes = [one.numel() * one.element_size() for one in (to_left, to_right)]
        self.count("halo", sum(sizes) if self.size > 2 else max(sizes))
        return TimedWork([], self.stats, "halo", 0.0, ())


@dataclass(frozen=True)
class Part:
    """One rank's work on one micro-batch, block by block, and what it sends for it.

    Attributes:
        blocks: their profiles.
        collectives: how many a block's forward and backward pass take part in, by block.
        collective_bytes: that it sends in them, by block.
        halos: exchanges with neighbours, by block.
        halo_bytes: sent in them, by block.
        passing: of an activation's bytes the share that passes between stages: half where they compute in bfloat16.
    """

    blocks: tuple[BlockProfile, ...]
    collectives: tuple[int, ...]
    collective_bytes: tuple[int, ...]
    halos: tuple[int, ...]
    halo_bytes: tuple[int, ...]
    passing: float = 1.0


@dataclass
class ModelProfile:
    """A chain's profiles, measured as they are asked for.

    Attributes:
        chain: float32, on the CPU or on a GPU.
        given: the whole batch, or its shape ``(batch, channels, rows, frames)``.
        bf16: whether it computes in bfloat16.
        flops: of a device that is not here; 0 means that times are measured.
    """

    chain: Chain
    given: tuple[int, ...] | Inputs
    bf16: bool = False
    flops: float = 0.0
    _parts: dict[tuple[str, int, int], Part] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Utterances of the whole batch."""
        return len(self.given) if isinstance(self.given, Inputs) else self.given[0]

    def _inputs(self, count: int) -> Inputs:
        """As many utterances."""
        inputs = example(self.given, next(self.chain.parameters()).dtype, "meta" if self.flops else self._device())
        return inputs.resized(count)

    def _device(self) -> torch.device:
        return next(self.chain.parameters()).device

    def part(self, axis: str, size: int, count: float) -> Part:
        """A rank's share of a micro-batch of ``count`` utterances, between two measured sizes in a straight line."""
        most = self.batch
        # larger batches than that leave the processor's cache; arithmetic knows of no cache
        eighth = most if self.flops else max(1, most // 8)
        low, high = (1, eighth) if count < eighth else (eighth, most)
        first, second = self._measured(axis, size, low), self._measured(axis, size, high)
        return _between(first, second, (count - low) / (high - low) if high > low else 0.0)

    def _measured(self, axis: str, size: int, count: int) -> Part:
        key = (axis if size > 1 else "", size, count)
        if key not in self._parts:
            self._parts[key] = self._measure(*key)
        return self._parts[key]

    @cached_property
    def _heavy(self) -> bool:
        return not self.flops and is_heavy(self.chain, example(self.given, next(self.chain.parameters()).dtype, "meta"))

    def _measure(self, axis: str, size: int, count: int) -> Part:
        if self._heavy and size > 1:
            return self._by_share(axis, size, count)
        inputs = self._inputs(count)
        chain = self.chain.skeleton() if self.flops else self.chain  # a skeleton computes nothing
        stats = CommStats()
        if size > 1:
            ranks = CountingAxis(0, size, None, stats)
            chain = split_blocks(chain, axis, ranks, replicate=True)
            if axis == "time" and inputs.images:
                inputs = local_frames(inputs, ranks)
        tally = _Tally(stats, self.bf16)
        if self.flops:
            found = estimate(chain, inputs, self.flops, tally.visit, tally.again)
        else:
            found = profile(chain, inputs, self.bf16, note=f"{axis}{size}" if size > 1 else "")
            if size == 1:  # nothing is sent, and a pass takes its time
                none = (0,) * len(found.blocks)
                return Part(found.blocks, none, none, none, none, passing=0.5 if self.bf16 else 1.0)
            _pass(chain, inputs, self.bf16, tally)
        return Part(found.blocks, *tally.messages(), passing=0.5 if self.bf16 else 1.0)

    def _by_share(self, axis: str, size: int, count: int) -> Part:
        """A part of a heavy chain: of the whole's measured times the share that it has of its arithmetic."""
        whole = self._measured("", 1, count)
        counted = ModelProfile(self.chain, self.given, self.bf16, flops=1.0)
        ours, all_of_it = counted._measured(axis, size, count), counted._measured("", 1, count)

        def shared(block: BlockProfile, own: BlockProfile, every: BlockProfile) -> BlockProfile:
            share = own.flops / every.flops if every.flops else 1.0 / size
            passed = {name: getattr(own, name) for name in ("entering", "leaving", "parameters", "trained")}
            memory = {
                name: round(getattr(block, name) * getattr(own, name) / max(1, getattr(every, name)))
                for name in ("saved", "largest", "delayed", "waiting")
            }
            return scaled(block, share, **passed, **memory)

        blocks = map(shared, whole.blocks, ours.blocks, all_of_it.blocks)
        return replace(ours, blocks=tuple(blocks), passing=whole.passing)

    @cached_property
    def behaviours(self) -> Mapping[str, Behaviour]:
        """What each block does with a small input; nothing is known where none is computed."""
        return {} if self.flops else behaviours(self.chain, self.given)

    @cached_property
    def update_rate(self) -> float:
        """Seconds that clipping and AdamW take for each byte of a parameter."""
        if self.flops:
            return 0.0
        parameter = torch.nn.Parameter(torch.zeros(1 << 19))
        parameter.grad = torch.ones_like(parameter)
        optimizer = torch.optim.AdamW([parameter], foreach=False)

        def update() -> None:
            torch.linalg.vector_norm(parameter.grad)
            optimizer.step()

        return time_of(update, parameter.device) / (4 << 19)


@dataclass
class _Tally:
    """Collectives and halos of each block's forward and backward pass: numbers and bytes."""

    stats: CommStats
    bf16: bool
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)

    def visit(self, x: Activations, y: Activations, block: nn.Module) -> None:
        """Go backward through a block that has gone forward, and note what both have sent."""
        targets = [p for p in block.parameters() if p.requires_grad] + differentiable(x)
        outputs = differentiable(y)
        if targets and outputs:
            torch.autograd.grad([one.sum() for one in outputs], targets, allow_unused=True)
        calls, sent = self.stats.calls, self.stats.sent
        # on the meta device there is no autocast: nearly all that is sent is activations
        share = 2 if tensors(x)[0].is_meta and self.bf16 else 1
        self.rows.append((calls["collective"], sent["collective"] // share, calls["halo"], sent["halo"] // share))
        calls.clear()
        sent.clear()

    def again(self, place: int) -> None:
        """Note what the block at a place has sent once more."""
        self.rows.append(self.rows[place])

    def messages(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Collectives and their bytes, halos and theirs, by block."""
        collectives, collective_bytes, halos, halo_bytes = zip(*self.rows, strict=True)
        return collectives, collective_bytes, halos, halo_bytes


def _pass(chain: Chain, inputs: Inputs, bf16: bool, tally: _Tally) -> None:
    """Once through the chain, forward and backward, block by block."""
    tally.stats.sent.clear()
    tally.stats.calls.clear()
    x = inputs.x
    for number, block in enumerate(chain):
        x = leaf(x, number > 0)
        with torch.autocast(inputs.seed.device.type, torch.bfloat16, enabled=bf16):
            y = call(block, x, inputs.beside)
        tally.visit(x, y, block)
        x = y


def _between(first: Part, second: Part, share: float) -> Part:
    def mix(a: float, b: float) -> float:
        return max(0.0, a + (b - a) * share)

    def mixed(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(round(mix(x, y)) for x, y in zip(a, b, strict=True))

    def middle(a: BlockProfile, b: BlockProfile) -> BlockProfile:
        between: dict[str, Any] = {name: mix(getattr(a, name), getattr(b, name)) for name in GROWING}
        return replace(a, **between)

    blocks = tuple(middle(a, b) for a, b in zip(first.blocks, second.blocks, strict=True))
    return Part(
        blocks,
        first.collectives,
        mixed(first.collective_bytes, second.collective_bytes),
        first.halos,
        mixed(first.halo_bytes, second.halo_bytes),
        first.passing,
    )
