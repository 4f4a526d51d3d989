"""An action of a rank, and what orders of actions are written with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

Kind = Literal["F", "B", "I", "W"]


class Action(NamedTuple):
    """One thing that a rank computes.

    Attributes:
        kind: ``F`` forward, ``B`` full backward, or its halves: ``I`` gradient of the input, ``W`` of the weights.
        stage: counted along the chain.
        microbatch: counted in the batch.
    """

    kind: Kind
    stage: int
    microbatch: int

    def __str__(self) -> str:
        return f"{self.kind} of micro-batch {self.microbatch} in stage {self.stage}"


Orders = list[list[Action]]
"""The actions of each rank, in order."""


def ranks_of(orders: Sequence[Sequence[Action]]) -> dict[int, int]:
    """The rank of each stage that has an action."""
    return {action.stage: rank for rank, order in enumerate(orders) for action in order}


def one_f_one_b(forward: Sequence[Action], backward: Sequence[Action], ahead: int) -> list[Action]:
    """``ahead`` forward actions, then a forward and a backward one in turn, then the backward ones that are left.

    >>> order = one_f_one_b([Action("F", 0, i) for i in range(3)], [Action("B", 0, i) for i in range(3)], ahead=1)
    >>> " ".join(f"{action.kind}{action.microbatch}" for action in order)
    'F0 F1 B0 F2 B1 B2'
    """
    ahead = min(ahead, len(forward))
    order = list(forward[:ahead])
    for pair in zip(forward[ahead:], backward, strict=False):
        order += pair
    return order + list(backward[len(forward) - ahead :])


def round_robin_stages(
    rank: int, ranks: int, microbatches: int, per_rank: int, backward: Kind
) -> tuple[list[Action], list[Action], int]:
    """A rank's forward and backward actions in rounds of micro-batches, and how many are in a round."""
    rounds = max(1, microbatches // ranks)
    if microbatches % rounds:
        raise ValueError(f"{microbatches} micro-batches make no {rounds} rounds of one length")
    length = microbatches // rounds
    stages = range(rank, per_rank * ranks, ranks)
    starts = range(0, microbatches, length)

    def each(kind: Kind, stages: Sequence[int]) -> list[Action]:
        return [
            Action(kind, stage, micro) for start in starts for stage in stages for micro in range(start, start + length)
        ]

    return each("F", stages), each(backward, stages[::-1]), length


def with_weights(order: Sequence[Action], late: int) -> list[Action]:
    """The weights' gradients put behind the input gradients, each ``late`` of these later; those left come last."""
    weights = [action._replace(kind="W") for action in order if action.kind == "I"]
    full, done = [], 0
    for action in order:
        full.append(action)
        if action.kind == "I":
            done += 1
            if done > late:
                full.append(weights[done - late - 1])
    return full + weights[max(0, done - late) :]


class ScheduleBuilder:
    """Writes down a rank's actions, where each stage takes its micro-batches in order, for each kind of action."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self._counts: Counter[tuple[str, int]] = Counter()

    def add(self, kinds: str, stage: int, times: int = 1) -> None:
        """The next action of each kind in turn; a full backward pass counts as both its halves."""
        for kind in kinds * times:
            halves = "IW" if kind == "B" else kind
            self.actions.append(Action(cast(Kind, kind), stage, self.count(halves[0], stage)))
            self._counts.update((half, stage) for half in halves)

    def count(self, kind: str, stage: int) -> int:
        """Actions of a kind that a stage has so far."""
        return self._counts[kind, stage]
