"""What is known of a strategy, in one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from parallel_ser.parallel.schedule.registry import SEQUENTIAL

if TYPE_CHECKING:
    from parallel_ser.parallel.engine.pieces import Pieces
    from parallel_ser.parallel.settings import StrategySettings


class Layout(NamedTuple):
    """How many ranks each dimension of the mesh has."""

    data: int
    pipeline: int
    tensor: int


class Traffic(NamedTuple):
    """What a rank sends in a step to complete gradients and weights.

    Attributes:
        size: bytes.
        calls: collectives.
        blocks: that were gathered, times micro-batches; each takes the strategy's overhead.
        gathered: bytes among ``size`` that are gathered from all ranks, see ``Link.gather``.
        scattered: the same of those that are summed to a share for each rank, see ``Link.scatter``.
    """

    size: float
    calls: int
    blocks: int = 0
    gathered: float = 0.0
    scattered: float = 0.0


class Shards(NamedTuple):
    """Ranks that share what else each copy would hold.

    Attributes:
        weights: and their gradients.
        moments: of the optimizer.
    """

    weights: int = 1
    moments: int = 1


def copies(settings: StrategySettings, ranks: int) -> Layout:
    """Every rank holds the whole model."""
    return Layout(ranks, 1, 1)


def stages(settings: StrategySettings, ranks: int) -> Layout:
    """The ranks of each copy are a pipeline, whose stages may be shared by several."""
    copy = ranks // settings.data_parallel
    return Layout(settings.data_parallel, copy // settings.tensor_parallel, settings.tensor_parallel)


def all_reduced(size: float, ranks: int) -> float:
    """Bytes that a rank sends in a ring's all-reduce."""
    return 2 * (ranks - 1) / ranks * size


def summed(settings: StrategySettings, layout: Layout, size: float, blocks: int) -> Traffic:
    """Gradients are summed over the copies, and over the slices of a time split; the norm's sum is one more."""
    if layout == (1, 1, 1):
        return Traffic(0.0, 0)
    over = [layout.data, layout.tensor if settings.axis == "time" else 1]
    return Traffic(sum(all_reduced(size, ranks) for ranks in over), 1 + sum(ranks > 1 for ranks in over))


def plain(settings: StrategySettings) -> Pieces:
    """Micro-batches one after another; gradients summed over the copies."""
    from parallel_ser.parallel.engine.pieces import Pieces

    return Pieces()


@dataclass(frozen=True)
class StrategyDescriptor:
    """A strategy.

    Attributes:
        name: as in ``strategy.name``.
        holds: what a process keeps, for tables.
        sends: what it sends, for tables.
        rank: place among the others in lists.
        layout: of the mesh, for the settings and a number of processes.
        takes: the settings of those that not every strategy takes: ``schedule``, ``stages``, ``rebalance``,
            ``axis``, ``tensor_parallel``, ``data_parallel``, ``zero``.
        schedules: the values of ``strategy.schedule`` that it takes; empty for all.
        most: processes that it can use.
        any_microbatches: whether it runs a schedule with fewer micro-batches than the schedule asks for.
        even: whether every rank computes as much as every other.
        variants: settings of its rows in the bench and of the planner's candidates, by label, for a number of copies.
        bench: further rows of the bench alone.
        suites: labels of the rows that a suite of the bench has where none are asked for.
        words: what its name in tables says beside ``strategy.name``.
        schedule: the order of a rank's passes.
        splits_backward: whether it computes backward passes in two halves.
        traffic: what a rank sends for the gradients, of settings, layout, bytes of its parameters and number of blocks.
        shards: how many ranks share the state, of settings and layout.
        gradients_stay: whether gradients keep their memory from step to step.
        overhead: what the planner's measured overhead is of: each ``action`` of the schedule, or each ``block`` and
            micro-batch.
        imports: packages that it needs beside torch.
        compose: the pieces that train.
    """

    name: str
    holds: str
    sends: str
    rank: int = 100
    layout: Callable[[StrategySettings, int], Layout] = copies
    takes: frozenset[str] = frozenset()
    schedules: tuple[str, ...] = ()
    most: int | None = None
    any_microbatches: Callable[[StrategySettings], bool] = lambda settings: False
    even: bool = False
    variants: Callable[[int], Mapping[str, dict[str, Any]]] = lambda copies: {"": {}}
    bench: Callable[[int], Mapping[str, dict[str, Any]]] = lambda ranks: {}
    suites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Callable[[StrategySettings], str] = lambda settings: ""
    schedule: Callable[[StrategySettings], str] = lambda settings: SEQUENTIAL
    splits_backward: Callable[[StrategySettings], bool] = lambda settings: False
    traffic: Callable[[StrategySettings, Layout, float, int], Traffic] = summed
    shards: Callable[[StrategySettings, Layout], Shards] = lambda settings, layout: Shards()
    gradients_stay: bool = False
    overhead: Literal["", "action", "block"] = ""
    imports: tuple[str, ...] = ()
    compose: Callable[[StrategySettings], Pieces] = plain

    @property
    def staged(self) -> bool:
        """Whether its ranks hold stages of consecutive blocks."""
        return "stages" in self.takes

    def rows(self, ranks: int) -> dict[str, dict[str, Any]]:
        """Settings of its rows in the bench, by label."""
        every = {**self.variants(1), **self.bench(ranks)}
        return {self.row(label): {"name": self.name, **given} for label, given in every.items()}

    def row(self, label: str) -> str:
        """The name of a row."""
        return f"{self.name} {label}".rstrip()
