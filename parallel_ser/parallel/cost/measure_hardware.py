"""What ``machine.probe`` runs on each rank: what processes of this machine do to each other; the first prints it.

Messages are measured as a step passes them: all ranks compute for a while, exchange something, compute again. A message
costs what such a turn takes longer than its computing does. So it includes what idle links do not show: that ranks come
to a meeting at different times, and that one whose core is busy with another process wakes up late.

What a strategy takes beside that is measured on a chain so small that it has little else to do.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parallel_ser.models.batch import Inputs, example, tensors
from parallel_ser.models.chain import Block, Chain
from parallel_ser.parallel.comm.context import ProcessContext, process_context
from parallel_ser.parallel.cost.hardware_model import GLOO, LIMIT, HardwareModel, Link
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.schedule.simulate import Times, simulate
from parallel_ser.parallel.settings import StrategySettings, layout, schedule_name
from parallel_ser.parallel.strategies.registry import one_process, strategies
from parallel_ser.system.hard_exit import HardExit
from parallel_ser.system.process import uss

LARGE = 1 << 20  # floats of a large message
ROUNDS = 7
MEETINGS = 49  # rounds of what differs most from one to the next
CHANNELS = 16

Work = Callable[[], object]


class Layer(Block):
    """Two convolutions, as in a block of a network, and small."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.last = last

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """``(batch, channels, rows, frames)`` to the same; the last block's to logits ``(batch, channels)``."""
        for layer in self.layers:
            x = layer(x).relu()
        return x.mean((2, 3)) if self.last else x


def measure(ranks: ProcessContext, factors: Mapping[str, float]) -> HardwareModel:
    """The machine as its ranks see it together, with those factors of ``Link`` that are given and not measured."""
    x, weight = torch.randn(1, 32, 32, 64), torch.randn(32, 32, 3, 3)

    def work() -> None:
        torch.nn.functional.conv2d(x, weight, padding=1).relu().add_(x)

    _turn(work, 20)  # the first ones prepare what the others use again
    took: list[list[float]] = [[] for _ in range(ranks.size)]
    for _ in range(ROUNDS):
        for number, times in enumerate(took):
            _meet(ranks)
            times.append(_slowest(ranks, _turn(work, 50) if ranks.rank <= number else 0.0))
    medians = [statistics.median(times) for times in took]
    alone = HardwareModel(tuple(max(1.0, median / medians[0]) for median in medians))
    if ranks.size == 1:
        return alone
    small, large = torch.zeros(1), torch.zeros(LARGE)
    latency, transfer = (_cost(ranks, work, _exchange(ranks, one), turns) for one, turns in ((small, 50), (large, 8)))
    reduce_latency, reduce = (
        _cost(ranks, work, lambda one=one: dist.all_reduce(one), turns)  # type: ignore[misc]
        for one, turns in ((small, 50), (large, 8))
    )
    copied = _slowest(ranks, _turn(large.clone, 8))  # no message passes faster, whatever the noise says
    wide = torch.randn(8, 32, 32, 64)  # some milliseconds, as between two sums of a split network

    def longer() -> None:
        torch.nn.functional.conv2d(wide, weight, padding=1).relu().add_(wide)

    meeting = _cost(ranks, longer, lambda: dist.all_reduce(small), 10, MEETINGS)
    undisturbed = statistics.median(_slowest(ranks, _turn(longer, 10)) for _ in range(ROUNDS))
    sent = large.nbytes * 2 * (ranks.size - 1) / ranks.size
    link = Link(
        latency=latency,
        bandwidth=large.nbytes / max(copied, transfer - latency),
        reduce_latency=reduce_latency,
        reduce_bandwidth=sent / max(copied, reduce - reduce_latency),
        **factors,
    )
    return replace(alone, within=link, jitter=max(0.0, meeting - reduce_latency) / undisturbed)


def _meet(ranks: ProcessContext) -> None:
    if ranks.size > 1:
        dist.barrier()


def _turn(work: Work, turns: int) -> float:
    """Mean seconds of a call."""
    began = time.perf_counter()
    for _ in range(turns):
        work()
    return (time.perf_counter() - began) / turns


def _slowest(ranks: ProcessContext, seconds: float) -> float:
    """The most of all ranks'."""
    most = torch.tensor([seconds])
    if ranks.size > 1:
        dist.all_reduce(most, dist.ReduceOp.MAX)
    return float(most)


def _cost(ranks: ProcessContext, work: Work, message: Work, turns: int, rounds: int = ROUNDS) -> float:
    """Seconds that a message adds to some work before it: the median over rounds with it and without it in turn."""

    def both() -> None:
        work()
        message()

    both()
    more = []
    for _ in range(rounds):
        _meet(ranks)
        alone = _slowest(ranks, _turn(work, turns))
        _meet(ranks)
        more.append(_slowest(ranks, _turn(both, turns)) - alone)
    return max(1e-6, statistics.median(more))


def _exchange(ranks: ProcessContext, what: Tensor) -> Work:
    """Send to one neighbour, and receive as much from it; of an odd number of ranks the last has none."""
    peer, room = ranks.rank ^ 1, torch.empty_like(what)

    def exchange() -> None:
        if peer < ranks.size:
            moves = [dist.P2POp(dist.irecv, room, peer), dist.P2POp(dist.isend, what, peer)]
            for one in dist.batch_isend_irecv(moves):
                one.wait()

    return exchange


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits * targets).sum(1)


def overheads(ranks: ProcessContext, machine: HardwareModel, names: Sequence[str]) -> dict[str, float]:
    """Seconds by the name of a strategy, as ``HardwareModel`` has them, given what messages cost."""
    blocks = parts = 2 * ranks.size
    shape = (1, CHANNELS, 8, 16)
    found = {}
    for name in names:
        torch.manual_seed(0)
        chain = Chain(OrderedDict((f"block{k}", Layer(last=k == blocks - 1)) for k in range(blocks)))
        one = example(shape, torch.float32, ranks.device)

        def pass_(chain: Chain = chain, one: Inputs = one) -> None:
            (y,) = tensors(chain(one.x, **one.beside))
            y.sum().backward()

        pass_()
        _meet(ranks)
        computing = _slowest(ranks, _turn(pass_, 4 * parts))  # of a micro-batch through the whole chain
        settings = StrategySettings(name=name, microbatches=parts, cut="parameters")
        strategy = Strategy(settings, 1.0)
        strategy.setup(chain, _loss, lambda given: torch.optim.AdamW(given.values()), ranks, shape)
        data, pipeline, _ = layout(settings, ranks.size)
        count = parts * data
        batch = example((count, *shape[1:]), torch.float32, ranks.device)
        targets = torch.ones(count, CHANNELS)
        for _ in range(2):
            strategy.train_step(batch, targets)
        step = statistics.median(_turn(lambda: strategy.train_step(batch, targets), 1) for _ in range(ROUNDS))  # noqa: B023
        if strategies()[name].overhead == "block":
            each = (step - parts * computing) / (parts * blocks) - 3 * machine.within.reduce_latency
        else:
            unit = Times([1.0] * pipeline, [1.0] * pipeline, [0.0] * pipeline, [1.0] * pipeline)
            in_turn = simulate(actions(schedule_name(settings), pipeline, parts), unit).step  # one after another
            each = step / in_turn - computing / (2 * pipeline) - machine.within.latency
        found[name] = max(0.0, each)
    return found


if __name__ == "__main__":
    leave = HardExit()
    for every in strategies().values():
        every.compose(StrategySettings(name=every.name))  # imports what it is made of
    sockets = "sockets" in sys.argv
    with process_context("cpu", timeout=LIMIT, share=not sockets) as group:
        machine = measure(group, GLOO if sockets else {})
        before = uss()
        timed = [one for one in strategies().values() if one.overhead] if group.size > 1 else [one_process()]
        plain, heavy = ([one.name for one in timed if bool(one.imports) == imports] for imports in (False, True))
        found = overheads(group, machine, plain)
        taken = max(0.0, float(uss() - before))  # what a strategy imports for itself is left out
        machine = replace(machine, resident=taken)
        machine = replace(machine, overheads=found | overheads(group, machine, heavy))
        if group.first:
            print(json.dumps(asdict(machine)), flush=True)
    leave(0)
