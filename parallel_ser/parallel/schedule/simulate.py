"""What a schedule costs: played against a clock, and by the formulas of the literature. Pure; no torch.

Rules of the play: a rank does its actions in order and one at a time, each as soon as its inputs are there.

==========  =========================================================================
action      waits for, of its micro-batch
==========  =========================================================================
F, stage s  F of stage s - 1, and its transfer
B or I      its own F; B or I of stage s + 1, and its transfer
W           its own I
==========  =========================================================================

A transfer costs time between two ranks and none within one, and keeps no rank from computing. Those from one rank to
another travel at once, but for the time that each of them fills the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from parallel_ser.parallel.schedule.actions import Action, Kind, ranks_of

PerStage = float | Sequence[float]
"""One number for all stages, or one for each."""


@dataclass(frozen=True)
class Times:
    """How long an action takes, in any unit of time.

    Attributes:
        forward: of a micro-batch through a stage.
        input: the half of a backward pass that gives the gradient of the stage's input.
        weight: the half that gives the gradient of its weights.
        backward: both at once; None means that it takes as long as its halves.
    """

    forward: PerStage = 1.0
    input: PerStage = 1.0
    weight: PerStage = 1.0
    backward: PerStage | None = None

    def of(self, kind: Kind, stage: int) -> float:
        """How long an action of a stage takes."""
        if kind == "B" and self.backward is None:
            return self.of("I", stage) + self.of("W", stage)
        values = {"F": self.forward, "B": self.backward, "I": self.input, "W": self.weight}[kind]
        assert values is not None
        return float(values[stage] if isinstance(values, Sequence) else values)


@dataclass(frozen=True)
class TimedAction:
    """An action of a rank, from ``start`` to ``end``."""

    rank: int
    kind: Kind
    stage: int
    microbatch: int
    start: float
    end: float


@dataclass(frozen=True)
class Simulation:
    """A step that was played.

    Attributes:
        step: from the start of the first action to the end of the last.
        busy: of each rank, what its actions take.
        idle: of each rank, the rest of the step.
        bubbles: of each rank, ``idle / step``.
        bubble: of all ranks, idle time over ``ranks · step``.
        in_flight: of each rank, the most activations that it holds at once, in micro-batches. A stage holds those of a
            micro-batch from the start of its F to the end of its B, or of its W where the backward pass is split. The
            pairs (stage, micro-batch) held at once are counted and divided by the stages that the rank has, so that 1
            is what one micro-batch leaves in all of them, and ranks with one and with two stages compare.
        actions: in order of rank and time.
    """

    step: float
    busy: tuple[float, ...]
    idle: tuple[float, ...]
    bubbles: tuple[float, ...]
    bubble: float
    in_flight: tuple[float, ...]
    actions: tuple[TimedAction, ...]

    def at_work(self) -> dict[int, float]:
        """For how long so many ranks are at work at once, by their number."""
        edges = sorted([(one.start, 1) for one in self.actions] + [(one.end, -1) for one in self.actions])
        lasted: dict[int, float] = {}
        active, since = 0, 0.0
        for when, change in edges:
            lasted[active] = lasted.get(active, 0.0) + when - since
            active, since = active + change, when
        return lasted

    def record(self) -> dict[str, Any]:
        """The same as plain numbers, sequences and dictionaries."""
        # not asdict, which copies deeply and takes seconds for a long step
        return vars(self) | {"actions": [vars(action).copy() for action in self.actions]}


def simulate(
    orders: Sequence[Sequence[Action]],
    times: Times | None = None,
    transfer: float | Callable[[int], float] = 0.0,
    wire: Callable[[int], float] = lambda boundary: 0.0,
    wire_of: Callable[[int, int], Hashable] = lambda here, there: (here, there),
) -> Simulation:
    """Play a schedule.

    Args:
        orders: the actions of each rank, as ``schedules.actions`` gives them.
        times: how long they take; by default F, I and W one unit each and B two.
        transfer: how long what passes between two ranks is on its way: one number, or a function of the boundary, where
            boundary ``s`` lies between stages ``s`` and ``s + 1``. The same in both directions.
        wire: for how long of that nothing else goes through the same wire.
        wire_of: which one a rank sends to another by; by default each has one to each other.

    Raises:
        ValueError: an action is there twice, or the ranks wait for each other for ever; names the stuck actions.
    """
    times = times or Times()
    ranks = ranks_of(orders)
    last = max(ranks, default=0)
    ends: dict[tuple[str, int, int], float] = {}  # by kind, stage, micro-batch
    arrived: dict[tuple[str, int, int], float] = {}  # what the stage behind needs of F, and the one before of B or I
    free: dict[Hashable, float] = {}  # when a wire is
    clocks = [0.0] * len(orders)
    places = [0] * len(orders)
    played: list[list[TimedAction]] = [[] for _ in orders]

    def delay(boundary: int) -> float:
        if ranks.get(boundary) == ranks.get(boundary + 1):
            return 0.0
        return transfer(boundary) if callable(transfer) else transfer

    delays = [delay(boundary) for boundary in range(last)]

    def send(kind: str, stage: int, to: int, micro: int, end: float) -> None:
        """What a stage gives at ``end`` is on its way to its neighbour."""
        here, there, boundary = ranks[stage], ranks.get(to, -1), min(stage, to)
        start = end
        if here != there:
            by = wire_of(here, there)
            start = max(end, free.get(by, 0.0))
            free[by] = start + wire(boundary)
        arrived[kind, stage, micro] = start + delays[boundary]

    def inputs(action: Action) -> list[float | None]:
        """When what an action waits for is there; None where that is not known yet."""
        kind, stage, micro = action
        if kind == "F":
            return [arrived.get(("F", stage - 1, micro))] if stage else []
        if kind == "W":
            return [ends.get(("I", stage, micro))]
        after = [arrived.get(("G", stage + 1, micro))] if stage < last else []
        return [ends.get(("F", stage, micro)), *after]

    moved = True
    while moved:
        moved = False
        for rank, order in enumerate(orders):
            while places[rank] < len(order):
                action = order[places[rank]]
                needed = inputs(action)
                known = [when for when in needed if when is not None]
                if len(known) < len(needed):
                    break
                start = max([clocks[rank], *known])
                end = start + times.of(action.kind, action.stage)
                if action in ends:
                    raise ValueError(f"rank {rank} has {action} twice")
                ends[action] = clocks[rank] = end
                if action.kind == "F" and action.stage < last:
                    send("F", action.stage, action.stage + 1, action.microbatch, end)
                if action.kind in "BI" and action.stage:
                    send("G", action.stage, action.stage - 1, action.microbatch, end)
                played[rank].append(TimedAction(rank, action.kind, action.stage, action.microbatch, start, end))
                places[rank] += 1
                moved = True
    stuck = [
        f"rank {rank} at {order[place]}"
        for rank, (order, place) in enumerate(zip(orders, places, strict=True))
        if place < len(order)
    ]
    if stuck:
        raise ValueError(f"the schedule is stuck: {', '.join(stuck)}")
    return _summary(played, orders)


def _summary(played: Sequence[Sequence[TimedAction]], orders: Sequence[Sequence[Action]]) -> Simulation:
    step = max((one.end for order in played for one in order), default=0.0)
    busy = tuple(sum(one.end - one.start for one in order) for order in played)
    idle = tuple(step - time for time in busy)
    return Simulation(
        step=step,
        busy=busy,
        idle=idle,
        bubbles=tuple(time / step if step else 0.0 for time in idle),
        bubble=sum(idle) / (step * len(played)) if step else 0.0,
        in_flight=tuple(
            sum(stage.activations for stage in counts.values()) / max(1, len(counts))
            for counts in map(_in_flight, orders)
        ),
        actions=tuple(one for order in played for one in order),
    )


class InFlight(NamedTuple):
    """Micro-batches that a stage holds.

    Attributes:
        activations: between their forward pass and the end of their backward pass.
        waiting: of these between the halves of a backward pass that is split in two.
    """

    activations: int
    waiting: int


def in_flight_by_stage(orders: Sequence[Sequence[Action]]) -> dict[int, InFlight]:
    """Micro-batches that each stage holds when its rank first holds the most, over all its stages.

    The orders alone decide it, for a rank does one thing at a time. Stages that share a rank hold different numbers:
    under ZBV the first rank's early stage many, its last stage one.
    """
    return {stage: counts for order in orders for stage, counts in _in_flight(order).items()}


def _in_flight(order: Sequence[Action]) -> dict[int, InFlight]:
    """See ``in_flight_by_stage``, of one rank."""
    counts = dict.fromkeys(sorted({stage for _, stage, _ in order}), InFlight(0, 0))
    peak, highest = dict(counts), (0, 0)
    for kind, stage, _ in order:
        activations, waiting = counts[stage]
        counts[stage] = InFlight(
            activations + (kind == "F") - (kind in "BW"), waiting + (kind == "I") - (kind == "W" and waiting > 0)
        )
        total = sum(one.activations for one in counts.values()), sum(one.waiting for one in counts.values())
        if total > highest:
            peak, highest = dict(counts), total
    return peak


def slowest_stage_step(times: Times, ranks: int, microbatches: int) -> float:
    """What a step of GPipe or 1F1B takes about where stages differ: (m + p - 1) times F + B of the slowest.

    No step takes longer if all stages have the same F / B and transfers cost nothing.
    """
    return (microbatches + ranks - 1) * max(times.of("F", stage) + times.of("B", stage) for stage in range(ranks))
