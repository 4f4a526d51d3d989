"""Ranks laid out in a grid of three dimensions, and what passes along one of them.

The last dimension runs fastest, so that the ranks which talk most are neighbours. Four ranks as data × pipeline ×
tensor = 1 × 2 × 2::

    rank 0: stage 0, part 0        rank 1: stage 0, part 1
    rank 2: stage 1, part 0        rank 3: stage 1, part 1
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from parallel_ser.parallel.comm.messages import TimedWork
from parallel_ser.parallel.tracing.stats import CommStats

DIMENSIONS = ("data", "pipeline", "tensor")


@dataclass(frozen=True)
class Axis:
    """The ranks along one dimension that this rank is among; alone, nothing is sent.

    Attributes:
        rank: place of this rank among them.
        size: of them.
        group: theirs; None where this rank is alone.
        stats: counts what passes.
        ranks: their ranks in the run.
    """

    rank: int
    size: int
    group: dist.ProcessGroup | None
    stats: CommStats
    ranks: tuple[int, ...] = ()

    def sum(self, x: Tensor) -> Tensor:
        """The sum over the ranks, in place."""
        if self.size > 1:
            with self.stats.span("all-reduce", x, 2 * (self.size - 1) / self.size, messages=self.message()):
                dist.all_reduce(x, group=self.group)
        return x

    def maximum(self, x: Tensor) -> Tensor:
        """The largest over the ranks, in place."""
        if self.size > 1:
            with self.stats.span("all-reduce", x, 2 * (self.size - 1) / self.size, messages=self.message()):
                dist.all_reduce(x, dist.ReduceOp.MAX, group=self.group)
        return x

    def gather(self, x: Tensor, dim: int) -> Tensor:
        """The ranks' tensors of one shape, joined along ``dim`` in their order."""
        if self.size == 1:
            return x
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.size)]
        with self.stats.span("all-gather", x, self.size - 1, messages=self.message()):
            dist.all_gather(parts, x, group=self.group)
        return torch.cat(parts, dim)

    def slice(self, x: Tensor, dim: int) -> Tensor:
        """This rank's of equal parts along ``dim``."""
        length = x.shape[dim] // self.size
        return x.narrow(dim, self.rank * length, length)

    def broadcast(self, x: Tensor, source: int) -> Tensor:
        """``x`` of the rank at ``source``, on all of them, in place."""
        if self.size > 1:
            with self.stats.span("broadcast", x, messages=self.message()):
                dist.broadcast(x, group=self.group, group_src=source)
        return x

    def broadcast_together(self, tensors: Sequence[Tensor], source: int) -> None:
        """Fill tensors of one type with those of the rank at ``source``, in one message."""
        if self.size > 1:
            _in_one(tensors, lambda flat: self.broadcast(flat, source))

    def sum_together(self, tensors: Sequence[Tensor]) -> None:
        """Sum tensors of one type over the ranks in place, in one message; a copy of them is all that it takes."""
        if self.size > 1:
            _in_one(tensors, self.sum)

    def send(self, x: Tensor, peer: int) -> TimedWork:
        """Begin to send to the rank at ``peer``; ``x`` must stay as it is until what is returned is waited for."""
        messages, posted = self.message(self.rank, peer), time.perf_counter()
        with self.stats.span("send", x):
            work = dist.isend(x, group=self.group, group_dst=peer)
        return TimedWork([work], self.stats, "send", posted, messages)

    def receive(self, x: Tensor, peer: int) -> Tensor:
        """Fill ``x`` from the rank at ``peer``."""
        with self.stats.span("receive", x, messages=self.message(peer, self.rank)):
            dist.recv(x, group=self.group, group_src=peer)
        return x

    def neighbours(self, to_left: Tensor, to_right: Tensor, left: Tensor, right: Tensor) -> TimedWork:
        """Begin to swap edges with both neighbours: send those given, and fill ``left`` and ``right``.

        At the ends of the axis, and where a tensor is empty, nothing passes on that side. Until what is returned is
        waited for, what is sent must stay as it is.
        """
        receives, sends = [], []  # in this order: see ``internals.pipelining.runtime``
        messages: tuple[str, ...] = ()
        for place, outgoing, incoming in ((self.rank - 1, to_left, left), (self.rank + 1, to_right, right)):
            if 0 <= place < self.size:
                if outgoing.numel():
                    sends.append(dist.P2POp(dist.isend, outgoing, group=self.group, group_peer=place))
                    messages += self.message(self.rank, place)
                if incoming.numel():
                    receives.append(dist.P2POp(dist.irecv, incoming, group=self.group, group_peer=place))
                    messages += self.message(place, self.rank)
        posted = time.perf_counter()
        if not receives + sends:
            return TimedWork([], self.stats, "halo", posted, ())
        with self.stats.span("halo", [move.tensor for move in sends]):
            works = dist.batch_isend_irecv(receives + sends)
        return TimedWork(works, self.stats, "halo", posted, messages)

    def message(self, *pair: int) -> tuple[str, ...]:
        """The name of the next message from one place to another, or without a pair among all."""
        if pair:
            return self.stats.message([self.ranks[place] for place in pair], ">")
        return self.stats.message(self.ranks)


def _in_one(tensors: Sequence[Tensor], work: Callable[[Tensor], Tensor]) -> None:
    """Do to tensors in place what ``work`` does to all their values behind each other."""
    flat = work(torch.cat([tensor.flatten() for tensor in tensors]))
    for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(piece.view(tensor.shape))


@dataclass(frozen=True)
class ParallelDims:
    """The three axes of a rank, and torch's own mesh of them, where there is more than one rank."""

    data: Axis
    pipeline: Axis
    tensor: Axis
    devices: DeviceMesh | None

    @classmethod
    def make(cls, device: torch.device, layout: Sequence[int], stats: CommStats) -> ParallelDims:
        """The axes of this rank for a ``layout`` (data, pipeline, tensor) of all ranks."""
        if math.prod(layout) == 1:
            alone = Axis(0, 1, None, stats)
            return cls(alone, alone, alone, None)
        mesh = init_device_mesh(device.type, tuple(layout), mesh_dim_names=DIMENSIONS)
        axes = {}
        for name, size in zip(DIMENSIONS, layout, strict=True):
            group = mesh.get_group(name) if size > 1 else None
            ranks = tuple(dist.get_process_group_ranks(group)) if group else ()
            axes[name] = Axis(mesh.get_local_rank(name), size, group, stats, ranks)
        return cls(devices=mesh, **axes)
