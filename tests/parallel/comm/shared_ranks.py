"""What each rank of the shared-memory tests runs: ``WHAT RANK RANKS STOREFILE``; it fails where something is wrong."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from parallel_ser.parallel.comm import shared

SIZES = [1, 3, 1000, 20_000, 400_001]  # of float32 numbers: less than a chunk, and several with a rest


def collectives(me: int, ranks: int) -> None:
    """Against the same sums of what every rank knows all others to have."""
    generator = torch.Generator().manual_seed(0)
    for size in SIZES:
        has = torch.randint(-9, 9, (ranks, size), generator=generator).float()
        wide = torch.randint(-9, 9, (ranks, ranks * size), generator=generator).float()
        mine = has[me]
        reductions = {
            dist.ReduceOp.SUM: has.sum(0),
            dist.ReduceOp.AVG: has.sum(0) / ranks,
            dist.ReduceOp.MAX: has.amax(0),
            dist.ReduceOp.MIN: has.amin(0),
            dist.ReduceOp.PRODUCT: has.prod(0),
        }
        for op, wanted in reductions.items():
            x = mine.clone()
            dist.all_reduce(x, op)
            assert torch.equal(x, wanted), (size, op)
        for source in range(ranks):
            x = mine.clone()
            dist.broadcast(x, source)
            assert torch.equal(x, has[source]), size
        parts = [torch.empty(size) for _ in range(ranks)]
        dist.all_gather(parts, mine)
        assert torch.equal(torch.stack(parts), has), size
        joined = torch.empty(ranks * size)
        dist.all_gather_single(joined, mine)
        assert torch.equal(joined, has.flatten()), size
        share = torch.empty(size)
        dist.reduce_scatter_single(share, wide[me])
        assert torch.equal(share, wide.sum(0).view(ranks, size)[me]), size
        dist.reduce_scatter(share, list(wide[me].chunk(ranks)))
        assert torch.equal(share, wide.sum(0).view(ranks, size)[me]), size
        dist.scatter(share, list(wide[1].chunk(ranks)) if me == 1 else None, src=1)
        assert torch.equal(share, wide[1].view(ranks, size)[me]), size
    image = torch.randn(2, 3, 5, 7, generator=generator)
    x = image.clone(memory_format=torch.channels_last)
    dist.all_reduce(x)
    assert torch.equal(x, ranks * image)
    whole = torch.arange(7) + me
    dist.all_reduce(whole)
    assert torch.equal(whole, ranks * torch.arange(7) + sum(range(ranks)))
    told = [None] * ranks
    dist.all_gather_object(told, {"rank": me})
    assert told == [{"rank": one} for one in range(ranks)]


def circle(me: int, ranks: int) -> None:
    """More than a ring holds, sent by all to their right before any receives, and none waits for what it has sent."""
    size, count = (shared.RING // 4) // 3, 8
    after, before = (me + 1) % ranks, (me - 1) % ranks
    data = [torch.full((size,), float(10 * me + number)) for number in range(count)]
    sent = [dist.isend(one, after) for one in data]
    room = torch.empty(size)
    for number in range(count):
        dist.recv(room, before)
        assert torch.equal(room, torch.full((size,), float(10 * before + number)))
    for work in sent:
        work.wait()
    total = torch.ones(1)
    work = dist.isend(torch.zeros(2 * shared.RING // 4), after)  # the rest is moved on while it waits for another thing
    gets = dist.irecv(torch.empty(2 * shared.RING // 4), before)
    dist.all_reduce(total)
    gets.wait()
    work.wait()
    assert total == ranks


def apart(me: int, ranks: int) -> None:
    """One rank cannot reach the memory: all take gloo."""
    group = dist.group.WORLD
    assert not isinstance(group, shared.Shared)
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total == ranks


def mixed(me: int, ranks: int) -> None:
    """A receiver that awaits something else is told."""
    if me == 0:
        dist.send(torch.zeros(5), 1)
    if me == 1:
        with pytest.raises(RuntimeError, match="24 bytes with tag 0 were awaited, and 20 with tag 0 came"):
            dist.recv(torch.zeros(6), 0)


def lost(me: int, ranks: int) -> None:
    """The second rank goes without a word; those that wait for it are told, the one that does not is not."""
    dist.barrier()
    if me == 1:
        os._exit(0)
    if me == 0:
        dist.send(torch.full((1,), 7.0), 2)
    if me == 2:
        x = torch.zeros(1)
        dist.recv(x, 0)
        assert x == 7.0
    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        dist.all_reduce(torch.zeros(1))


def stress(me: int, ranks: int) -> None:
    """Many programs of random messages: sizes from nothing to several chunks, in several groups, in any order.

    Every rank draws the same program, and knows from it what it must have got. In each program ranks send to each other
    without waiting, between collectives of all and of some.
    """
    groups = [list(range(ranks)), [0, ranks - 1], list(range(1, ranks))]
    made = [dist.new_group(members) for members in groups]
    for program in range(40):
        draw = random.Random(program)
        for _ in range(draw.randint(1, 6)):
            number = draw.randrange(len(groups))
            members, group = groups[number], made[number]
            size = draw.choice([0, 1, 7, 999, 65_536, 300_001])
            has = {one: torch.full((size,), float(draw.randint(-9, 9))) for one in members}
            kind, root = draw.choice(["sum", "broadcast", "gather", "ring"]), draw.choice(members)
            if me not in members:
                continue
            mine = has[me].clone()
            if kind == "sum":
                dist.all_reduce(mine, group=group)
                assert torch.equal(mine, sum(has.values(), torch.zeros(size)))
            elif kind == "broadcast":
                dist.broadcast(mine, root, group=group)
                assert torch.equal(mine, has[root])
            elif kind == "gather":
                parts = [torch.empty(size) for _ in members]
                dist.all_gather(parts, mine, group=group)
                assert all(torch.equal(part, has[one]) for part, one in zip(parts, members))
            elif len(members) > 1:
                place = members.index(me)
                after, before = members[(place + 1) % len(members)], members[place - 1]
                sent = [dist.isend(mine + turn, after, group=group) for turn in range(3)]
                for turn in range(3):
                    got = torch.empty(size)
                    dist.recv(got, before, group=group)
                    assert torch.equal(got, has[before] + turn)
                for work in sent:
                    work.wait()
    if me == ranks - 1:
        os._exit(0)  # in the middle of what the others do

    def go_on() -> None:
        while True:
            dist.all_reduce(torch.zeros(65_536))

    with pytest.raises(RuntimeError, match="Connection closed by peer"):
        go_on()


if __name__ == "__main__":
    what, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if what == "apart" and rank == 1:
        shared.reach = lambda *_: -1
    store = dist.FileStore(sys.argv[4], size)
    torch.set_num_threads(1)
    dist.init_process_group(shared.register(), store=store, rank=rank, world_size=size, timeout=timedelta(seconds=300))
    work: Callable[[int, int], None] = globals()[what]
    work(rank, size)
    os._exit(0)
