"""What is known of a schedule, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from parallel_ser.parallel.schedule.actions import Orders


@dataclass(frozen=True)
class Schedule:
    """A schedule of a pipeline.

    Attributes:
        name: as in ``strategy.schedule``.
        orders: what each rank does, in order, for a number of ranks and of micro-batches.
        summary: a line for tables.
        source: paper.
        rank: place among the others in lists.
        per_rank: stages that a rank holds.
        v_shaped: whether stages go there and back over the ranks, instead of around and around.
        least: the fewest micro-batches that it takes on a number of ranks.
        rounds: whether micro-batches go in rounds of one length: ``max(1, m // p)`` must divide ``m``.
        stages: the rank of each stage, where it is neither.
        fixed: ranks and micro-batches of a schedule that was written for these alone.
        own_strategy: whether it is the order of a strategy of its own, and no value of ``strategy.schedule``.
        overhead: idle time over work by the literature, for ranks with equal stages; None where nothing is known.
        in_flight: micro-batches that a rank holds at the most by the literature, for ranks, micro-batches and rank.
    """

    name: str
    orders: Callable[[int, int], Orders]
    summary: str
    source: str = ""
    rank: int = 100
    per_rank: int = 1
    v_shaped: bool = False
    least: Callable[[int], int] = lambda ranks: 1
    rounds: bool = False
    stages: tuple[int, ...] = ()
    fixed: tuple[int, int] | None = None
    own_strategy: bool = False
    overhead: Callable[[int, int], float] | None = None
    in_flight: Callable[[int, int, int], float] | None = None

    def placement(self, ranks: int) -> list[int]:
        """The rank of each stage.

        >>> Schedule("around", lambda ranks, parts: [], "", per_rank=2).placement(3)
        [0, 1, 2, 0, 1, 2]
        >>> Schedule("there and back", lambda ranks, parts: [], "", per_rank=2, v_shaped=True).placement(3)
        [0, 1, 2, 2, 1, 0]
        """
        if self.stages:
            return list(self.stages)
        there = list(range(ranks))
        return there + there[::-1] if self.v_shaped else there * self.per_rank

    @cached_property
    def splits_backward(self) -> bool:
        """Whether weights' gradients are computed apart from the inputs'."""
        ranks, parts = self.fixed or (2, 4)
        return any(action.kind == "W" for order in self.orders(ranks, parts) for action in order)

    def refusal(self, ranks: int, parts: int) -> tuple[str, str] | None:
        """Why it cannot run so many micro-batches on so many ranks, and the setting to change; None where it can."""
        setting = f"strategy.schedule={self.name}"
        if self.fixed and ranks != self.fixed[0]:
            return f"{setting} is written for {self.fixed[0]} processes of a pipeline, not {ranks}", "processes"
        if self.per_rank > 1 and ranks < 2:
            return f"{setting} needs 2 or more processes in its pipeline", "processes"
        least = self.fixed[1] if self.fixed else self.least(ranks)
        length = parts // ranks
        if self.fixed and parts != least:
            rule = f"{least}"
        elif parts < least:
            rule = f"{least} or more"
        elif self.rounds and parts % max(1, length):
            rule = f"a multiple of {length} with {length} rounds"
        else:
            return None
        return f"{setting} on {ranks} processes needs strategy.microbatches to be {rule}, not {parts}", "microbatches"

    def theory_bubble(self, ranks: int, parts: int) -> float:
        """The bubble that the literature gives: idle time over all time, of ranks with equal stages and free transfers.

        With fewer micro-batches than ranks (``zbv``: than ``(3 p - 1) / 2``) the true bubble is larger.
        """
        overhead = self.overhead(ranks, parts) if self.overhead else 0.0
        return overhead / (1 + overhead)

    def theory_in_flight(self, ranks: int, parts: int, rank: int = 0) -> float:
        """The most activations that a rank holds by the literature, in micro-batches."""
        return float(self.in_flight(ranks, parts, rank)) if self.in_flight else float(parts)
