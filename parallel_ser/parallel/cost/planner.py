"""Which way to split a model is fastest, before anything is trained: predicted from profiles, schedules and links.

What is predicted of a candidate with data × pipeline × tensor ranks and m micro-batches:

step time
    its schedule played by ``simulate`` with the stages' measured times and the links' transfers; a rank of a tensor
    split adds its collectives and halos to its work; then the sum of the gradients and the optimizer. Work takes
    longer by the slowdown that the machine was measured to have with as many ranks at work, in the mean over a step's
    work. What passes from machine to machine takes their link, which the ranks of a machine share.
memory
    of the fullest rank, see ``memory_model``.
bytes
    that the busiest rank sends in a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from parallel_ser.errors import UserError
from parallel_ser.parallel.compatibility import validate
from parallel_ser.parallel.cost.block_profile import BlockProfile
from parallel_ser.parallel.cost.hardware_model import HardwareModel
from parallel_ser.parallel.cost.memory_model import stage_bytes
from parallel_ser.parallel.cost.model_profile import ModelProfile, Part
from parallel_ser.parallel.cost.partition import Memory, partition, stage_slices
from parallel_ser.parallel.requirements import find_incompatibility
from parallel_ser.parallel.schedule.actions import Orders
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.schedule.simulate import InFlight, Simulation, Times, in_flight_by_stage, simulate
from parallel_ser.parallel.settings import StrategySettings, layout, schedule_name, stage_ranks
from parallel_ser.parallel.strategies.descriptor import Layout, Shards, Traffic
from parallel_ser.parallel.strategies.registry import descriptor_of, strategies

MICROBATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Prediction:
    """What a candidate is expected to do.

    Attributes:
        settings: of the candidate.
        layout: data × pipeline × tensor ranks.
        step: seconds.
        memory: bytes of the fullest rank above the interpreter's own.
        sent: bytes that the busiest rank sends in a step.
        bubble: share of the step in which ranks of a pipeline wait.
        cuts: where stages open.
        refusal: why it cannot run; empty when it can.
    """

    settings: StrategySettings
    layout: tuple[int, int, int]
    step: float = 0.0
    memory: float = 0.0
    sent: float = 0.0
    bubble: float = 0.0
    cuts: tuple[int, ...] = ()
    refusal: str = ""

    @property
    def name(self) -> str:
        """Such as ``pipeline zbv ×8 data 2``."""
        one = self.settings
        words: list[str] = [f"{one.name} {descriptor_of(one.name).words(one)}".rstrip()]
        words += [one.axis] if one.tensor_parallel > 1 else []
        words.append(f"×{one.microbatches}")
        words += [f"data {one.data_parallel}"] if one.data_parallel > 1 else []
        words += [f"tensor {one.tensor_parallel}"] if one.tensor_parallel > 1 else []
        words += [f"zero {one.zero}"] if one.zero else []
        words += [f"again {one.checkpointing}"] if one.checkpointing != "none" else []
        return " ".join(words)


def candidates(ranks: int, batch: int, base: StrategySettings) -> Iterator[StrategySettings]:
    """Every strategy, schedule, mesh, number of micro-batches and checkpointing for so many ranks."""
    plain: dict[str, Any] = {"stages": (), "zero": 0, "tensor_parallel": 1, "data_parallel": 1}
    for shape in _shapes(ranks, base):
        for parts in (n for n in MICROBATCHES if n * int(shape.get("data_parallel", 1)) <= batch):
            for kept in ("none", "block"):
                yield base.model_copy(update={**plain, **shape, "microbatches": parts, "checkpointing": kept})


def _shapes(ranks: int, base: StrategySettings) -> Iterator[dict[str, Any]]:
    """Settings of every strategy on every mesh."""
    divisors = [n for n in range(1, ranks + 1) if ranks % n == 0]
    for strategy in strategies().values():
        if (ranks == 1) != (strategy.most == 1):
            continue
        for data in divisors[:-1] if "data_parallel" in strategy.takes else [1]:
            follows = base.rebalance and "rebalance" in strategy.takes
            meshes: list[dict[str, Any]] = [{"axis": base.axis}]
            if "tensor_parallel" in strategy.takes:
                shares = [n for n in divisors if 1 < n < ranks // data and ranks // data % n == 0]
                meshes += [{"tensor_parallel": n, "axis": axis} for n in shares for axis in ("time", "channel")]
            for mesh in meshes:
                for given in strategy.variants(data).values():
                    yield {"name": strategy.name, "data_parallel": data, "rebalance": follows, **mesh, **given}


def predict(
    settings: StrategySettings,
    ranks: int,
    facts: ModelProfile,
    machine: HardwareModel,
    groups: int,
    limit: float = float("inf"),
) -> Prediction:
    """What a candidate would do, or why it cannot.

    Args:
        settings: of the candidate.
        ranks: of the run.
        facts: of the chain.
        machine: the ranks run on.
        groups: into which the channels of every block divide.
        limit: bytes of memory a rank.
    """
    place = layout(settings, ranks)
    said = find_incompatibility(settings, ranks, len(facts.chain), groups)
    if said is not None:
        return Prediction(settings, place, refusal=said[0])
    batch, (data, _, tensor) = facts.batch, place
    if settings.microbatches * data > batch:
        clause = f"{settings.microbatches} micro-batches on {data} copies are more than {batch} utterances"
        return Prediction(settings, place, refusal=clause)
    if clause := _refusal(settings, place, facts):
        return Prediction(settings, place, refusal=clause)
    part = facts.part(settings.axis, tensor, batch / (settings.microbatches * data))
    try:
        possible = dict.fromkeys(_cuts(settings, place, part, machine, limit))
        staged = [_staged(settings, place, part, machine, cuts) for cuts in possible]
    except ValueError as error:
        return Prediction(settings, place, refusal=str(error))
    step, memory, sent, bubble, cuts, weights = min(staged)
    if not settings.stages and cuts != _cut_of_training(settings, place, part):
        settings = settings.model_copy(update={"stages": cuts})  # training would cut otherwise
    step += _after(settings, place, part, weights, facts, machine)
    sent += _traffic(settings, place, part, max(weights)).size
    if memory > limit:
        clause = f"needs {memory / 2**20:,.0f} MiB on a rank, which has {limit / 2**20:,.0f} MiB"
        return Prediction(settings, place, step, memory, sent, bubble, cuts, clause)
    return Prediction(settings, place, step, memory, sent, bubble, cuts)


def _refusal(settings: StrategySettings, place: tuple[int, int, int], facts: ModelProfile) -> str:
    """Why training would refuse a block of the chain; empty where it would not."""
    data, pipeline, tensor = place
    try:
        validate(
            facts.behaviours,
            ranks=data * pipeline * tensor,
            pieces=settings.microbatches * data * tensor,
            zero_bubble=descriptor_of(settings.name).splits_backward(settings),
            recomputes=settings.checkpointing != "none",
        )
    except UserError as error:
        return str(error).rstrip(".")
    return ""


def _recomputed(settings: StrategySettings, part: Part) -> list[float]:
    """Seconds of forward work that the backward pass of each block does again."""
    return [0.0 if settings.checkpointing == "none" else block.forward for block in part.blocks]


def _costs(settings: StrategySettings, part: Part) -> tuple[float, ...]:
    """Seconds of each block's passes."""
    again = _recomputed(settings, part)
    return tuple(block.forward + block.backward + more for block, more in zip(part.blocks, again, strict=True))


def _cut_of_training(settings: StrategySettings, place: tuple[int, int, int], part: Part) -> tuple[int, ...]:
    """Where stages open if nothing but the blocks' times is heeded."""
    return _cut(_costs(settings, part), tuple(stage_ranks(settings, place[1])))


def _bytes_of(settings: StrategySettings, place: tuple[int, int, int], part: Part) -> Callable[[int, int, int], float]:
    """Bytes of a stage by its number, first block and one past its last."""
    strategy = descriptor_of(settings.name)
    shards = strategy.shards(settings, Layout(*place))
    in_flight = _in_flight(schedule_name(settings), place[1], settings.microbatches)

    def bytes_of(stage: int, start: int, stop: int) -> float:
        halved = stage > 0 and strategy.splits_backward(settings)  # torch's first stage has a whole backward pass
        blocks, stay = part.blocks[start:stop], strategy.gradients_stay
        return stage_bytes(settings, blocks, in_flight[stage], halved, shards, stay)

    return bytes_of


def _cuts(
    settings: StrategySettings, place: tuple[int, int, int], part: Part, machine: HardwareModel, limit: float
) -> Iterator[tuple[int, ...]]:
    """Where stages may open: as given, else as training would cut; if that holds too much, or where stages are on
    several machines, other cuts, too.

    Raises:
        ValueError: no cut keeps every rank within the limit.
    """
    if settings.stages:
        yield settings.stages
        return
    _, pipeline, tensor = place
    where, costs = stage_ranks(settings, pipeline), _costs(settings, part)
    memory = Memory(limit - machine.resident, _bytes_of(settings, place, part))
    cuts = _cut_of_training(settings, place, part)
    fits = _fullest(memory, stage_slices(cuts, len(costs)), where) <= memory.limit
    yield cuts if fits else partition(costs, where, memory)
    if machine.between is None:
        return
    bounded = memory if limit < float("inf") else None
    for ways in (1, 2):  # a machine between two others passes activations to one and gradients to the other

        def passing(stage: int, stop: int, ways: int = ways) -> float:
            link = machine.among([where[one] * tensor for one in (stage, stage + 1)], tensor)
            return ways * part.passing * part.blocks[stop - 1].leaving / link.bandwidth

        yield partition(costs, where, bounded, passing=passing)


def _staged(
    settings: StrategySettings,
    place: tuple[int, int, int],
    part: Part,
    machine: HardwareModel,
    cuts: tuple[int, ...],
) -> tuple[float, float, float, float, tuple[int, ...], list[float]]:
    """Step, memory, bytes, bubble and cuts of the passes alone, and each rank's parameter bytes."""
    data, pipeline, tensor = place
    schedule = schedule_name(settings)
    where = stage_ranks(settings, pipeline)
    orders = _orders(schedule, pipeline, settings.microbatches)
    inner = machine.among(range(tensor))
    wire = [
        inner.collective(part.collective_bytes[k], part.collectives[k])
        + part.halos[k] * inner.latency
        + part.halo_bytes[k] / inner.bandwidth
        for k in range(len(part.blocks))
    ]
    recompute = _recomputed(settings, part)
    strategy, bytes_of = descriptor_of(settings.name), _bytes_of(settings, place, part)
    shards = strategy.shards(settings, Layout(*place))
    edges = stage_slices(cuts, len(part.blocks))

    def stages(values: Sequence[float]) -> list[float]:
        return [sum(values[start:stop]) for start, stop in edges]

    forward = stages([block.forward for block in part.blocks])
    backward = stages([block.backward + more for block, more in zip(part.blocks, recompute, strict=True)])
    of_input = stages([block.input + more for block, more in zip(part.blocks, recompute, strict=True)])
    of_weight = stages([block.weight for block in part.blocks])
    of_input[0], of_weight[0] = 0.0, backward[0]  # so torch does it where nobody asks for the gradient of the features
    messages = [once / 2 for once in stages(wire)]  # as many forward as backward
    leaving = [part.passing * part.blocks[stop - 1].leaving for _, stop in edges]
    links = [
        machine.among([where[stage] * tensor for stage in (boundary, boundary + 1)], tensor)
        for boundary in range(len(edges) - 1)
    ]

    of_actions = pipeline > 1 and strategy.overhead == "action"
    overhead = machine.overheads.get(settings.name, 0.0) if of_actions else 0.0
    waiting = 1.0 + machine.jitter if tensor > 1 else 1.0

    def played(slower: float) -> Simulation:
        slower *= waiting

        def with_messages(work: list[float]) -> list[float]:
            return [slower * one + sent + overhead for one, sent in zip(work, messages, strict=True)]

        times = Times(
            forward=with_messages(forward),
            input=with_messages(of_input),
            weight=[slower * one for one in of_weight],
            backward=with_messages(backward),
        )
        return simulate(
            orders,
            times,
            lambda boundary: links[boundary].send(leaving[boundary]),
            lambda boundary: leaving[boundary] / links[boundary].bandwidth,
            lambda here, there: machine.wire(here * tensor, there * tensor),
        )

    here = min(data * pipeline * tensor, len(machine.slowdown))
    work = {active: active * time for active, time in played(1.0).at_work().items()}
    slower = sum(machine.slower(here * active / pipeline) * one for active, one in work.items())
    play = played(slower / (sum(work.values()) or 1.0))
    held = [0.0] * pipeline
    weights = [0.0] * pipeline
    sent = [0.0] * pipeline
    for stage, (start, stop) in enumerate(edges):
        rank = where[stage]
        held[rank] += bytes_of(stage, start, stop)
        weights[rank] += sum(_sent(block, shards) for block in part.blocks[start:stop])
        sent[rank] += settings.microbatches * sum(part.collective_bytes[start:stop] + part.halo_bytes[start:stop])
        if stage + 1 < len(edges) and where[stage + 1] != rank:
            sent[rank] += settings.microbatches * leaving[stage]
            sent[where[stage + 1]] += settings.microbatches * leaving[stage]
    return play.step, max(held) + machine.resident, max(sent), play.bubble, cuts, weights


def _sent(block: BlockProfile, shards: Shards) -> float:
    """Bytes of a block's parameters that a rank has a gradient of, or a share of all where they are gathered."""
    return block.parameters / shards.weights if shards.weights > 1 else block.trained


@cache
def _cut(costs: tuple[float, ...], where: tuple[int, ...]) -> tuple[int, ...]:
    return partition(costs, where)


def _fullest(memory: Memory, edges: Sequence[tuple[int, int]], where: Sequence[int]) -> float:
    """Bytes that the fullest rank would hold."""
    held = [0.0] * len(where)
    for stage, edge in enumerate(edges):
        held[where[stage]] += memory.bytes_of(stage, *edge)
    return max(held)


@cache
def _orders(schedule: str, ranks: int, microbatches: int) -> Orders:
    return actions(schedule, ranks, microbatches)


@cache
def _in_flight(schedule: str, ranks: int, microbatches: int) -> dict[int, InFlight]:
    """Micro-batches that each stage holds when its rank holds the most; it does not depend on times."""
    return in_flight_by_stage(_orders(schedule, ranks, microbatches))


def _traffic(settings: StrategySettings, place: tuple[int, int, int], part: Part, own: float) -> Traffic:
    """What a rank sends to complete gradients and weights."""
    return descriptor_of(settings.name).traffic(settings, Layout(*place), own, len(part.blocks))


def _after(
    settings: StrategySettings,
    place: tuple[int, int, int],
    part: Part,
    weights: Sequence[float],
    facts: ModelProfile,
    machine: HardwareModel,
) -> float:
    """Seconds of the gradients' sum, clipping and the optimizer, given each rank's parameter bytes of a pipeline."""
    layout, strategy, own = Layout(*place), descriptor_of(settings.name), max(weights)
    traffic = _traffic(settings, place, part, own)
    overhead = traffic.blocks * machine.overheads.get(settings.name, 0.0)
    shards = strategy.shards(settings, layout)
    stepped = own * shards.weights / shards.moments
    update = stepped * facts.update_rate * machine.slower(layout.data * layout.pipeline * layout.tensor)
    if layout.data > 1:  # each rank of a copy is in a group of its own, and a machine's groups share its link
        apart = layout.pipeline * layout.tensor
        together = layout.tensor * sum(weights) / (own or 1.0) * min(1.0, (machine.local or apart) / apart)
        links = machine.among(range(0, layout.data * apart, apart), max(1.0, together))
    else:
        links = machine.among(range(layout.tensor))
    again = links.gather if layout.data == 2 else 1.0
    passed = traffic.size + (links.scatter - 1.0) * traffic.scattered + (again - 1.0) * traffic.gathered
    return links.collective(passed, traffic.calls) + overhead + update


def plan(
    ranks: int,
    facts: ModelProfile,
    machine: HardwareModel,
    groups: int,
    base: StrategySettings,
    limit: float = float("inf"),
) -> list[Prediction]:
    """Every candidate, the fastest that runs first, then those that cannot run.

    Raises:
        UserError: none can run.
    """
    found = [predict(one, ranks, facts, machine, groups, limit) for one in candidates(ranks, facts.batch, base)]
    found.sort(key=lambda one: (bool(one.refusal), one.step))
    if not found or found[0].refusal:
        why = found[0].refusal if found else "there is no candidate"
        raise UserError(f"no strategy runs on {ranks} processes: {why}.")
    return found
