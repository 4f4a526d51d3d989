"""Which rows a suite has: pure functions from cores, processes and settings to jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from parallel_ser.bench.record import Job
from parallel_ser.parallel.requirements import find_incompatibility
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.schedule.simulate import Times, simulate
from parallel_ser.parallel.settings import StrategySettings, layout, schedule_name, stage_ranks, stages_per_rank
from parallel_ser.parallel.strategies.registry import one_process
from parallel_ser.parallel.strategies.registry import strategies as strategies_of

SINGLE = (1, 2, 4, 8)
"""Micro-batches that the single process is tried with: the smaller ones fit the caches."""


def every_strategy(ranks: int, microbatches: int) -> dict[str, StrategySettings]:
    """All strategies of several processes by the name of their row, as their descriptors have them.

    What follows no schedule takes its batch whole: micro-batches would only multiply its messages.
    """
    return {
        label: StrategySettings(**{"microbatches": microbatches if "schedule" in one.takes else 1, **given})
        for one in strategies_of().values()
        if one is not one_process()
        for label, given in one.rows(ranks).items()
    }


def rows_of(suite: str) -> tuple[str, ...]:
    """Names of the rows that a suite has where none are asked for."""
    return tuple(one.row(label) for one in strategies_of().values() for label in one.suites.get(suite, ()))


def chosen(names: Collection[str], wanted: Sequence[str]) -> list[str]:
    """The rows that are named whole, or whose names begin so: ``pipeline 1f1b`` is one row, ``pipeline`` many."""
    exact = [one for one in wanted if one in names]
    starts = tuple(one for one in wanted if one not in names)
    return [name for name in names if name in exact or (starts and name.startswith(starts))]


def alone(microbatches: int) -> StrategySettings:
    """One process, which the others are compared with."""
    return StrategySettings(name=one_process().name, microbatches=microbatches)


def is_alone(settings: StrategySettings) -> bool:
    """Whether it is that one."""
    return settings.name == one_process().name


def runnable(settings: StrategySettings, ranks: int, blocks: int, parts: int, batch: int) -> StrategySettings | None:
    """The settings with as many micro-batches as they need, or None where these processes cannot run them."""
    for count in (settings.microbatches, *(2**power for power in range(7))):
        tried = settings.model_copy(update={"microbatches": count})
        if count * layout(tried, ranks)[0] > batch:
            continue
        if find_incompatibility(tried, ranks, blocks, parts) is None:
            return tried
    return None


def expected_bubble(settings: StrategySettings, ranks: int, work: Sequence[float] | None = None) -> float | None:
    """The share of the step that ranks idle, by the simulator; None without a schedule.

    Args:
        settings: of the strategy.
        ranks: of the run.
        work: what each rank of the pipeline has to do in a step, in any unit; equal without. Stages that share a rank
            share its work evenly, and a backward pass takes twice as long as a forward pass.
    """
    _, pipeline, _ = layout(settings, ranks)
    if pipeline < 2:
        return None
    orders = actions(schedule_name(settings), pipeline, settings.microbatches)
    several = stages_per_rank(settings)
    own = [(work[rank] if work else 1.0) / several for rank in stage_ranks(settings, pipeline)]
    return simulate(orders, Times(own, own, own)).bubble


def strategies(
    ranks: int,
    cores: int,
    size: str,
    batch: int,
    microbatches: int,
    blocks: int,
    parts: int,
    wanted: Sequence[str] = (),
    group: str = "",
) -> list[Job]:
    """The single process with all cores and with one, then every strategy on ``ranks`` processes that share the cores.

    The single process stands there with each number of micro-batches of ``SINGLE``; ``settle`` keeps the fastest.
    ``wanted`` names rows to keep, see ``chosen``.
    """
    used = cores // ranks * ranks
    common: dict[str, Any] = {"batch": batch, "size": size, "group": group}
    single = [
        Job(
            name=f"single, {count} micro-batch{'es' * (count > 1)}",
            strategy=alone(count),
            ranks=1,
            threads=used,
            **common,
        )
        for count in SINGLE
        if count <= batch
    ]
    jobs = []
    every = every_strategy(ranks, microbatches)
    for name in chosen(every, wanted) if wanted else every:
        settings = every[name]
        found = runnable(settings, ranks, blocks, parts, batch)
        if found is not None:
            jobs.append(Job(name=name, strategy=found, ranks=ranks, threads=cores // ranks, **common))
    return [*single, *jobs]


def settle(jobs: Sequence[Job], seconds: dict[str, float]) -> list[Job]:
    """The jobs with only the fastest of the single process's micro-batches, the reference; and that on one core too.

    ``seconds`` has the median step of each single job that was tried.
    """
    singles = [job for job in jobs if is_alone(job.strategy) and job.name in seconds]
    best = min(singles, key=lambda job: seconds[job.name])
    reference = best.model_copy(update={"name": "single", "reference": True})
    one_core = best.model_copy(update={"name": "single, one core", "threads": 1})
    rest = [job for job in jobs if not is_alone(job.strategy)]
    return [reference, *([one_core] if best.threads > 1 else []), *rest]


def microbatches(
    ranks: int, cores: int, size: str, batch: int, counts: Sequence[int], schedules: Sequence[str], blocks: int
) -> list[Job]:
    """GPipe and 1F1B over the number of micro-batches."""
    jobs = []
    for schedule in schedules:
        for count in counts:
            settings = StrategySettings(microbatches=count).model_copy(update={"schedule": schedule})
            if count <= batch and find_incompatibility(settings, ranks, blocks, 8) is None:
                jobs.append(
                    Job(
                        name=f"{schedule}, {count} micro-batches",
                        strategy=settings,
                        ranks=ranks,
                        threads=cores // ranks,
                        batch=batch,
                        size=size,
                        group=schedule,
                    )
                )
    return jobs


def scaling(cores: int, size: str, batch: int, parts: int, blocks: int, names: Sequence[str]) -> list[Job]:
    """Strong (one global batch) and weak (a batch for each process) scaling over 1, 2, 4, … processes, one core each.

    What the rows of a kind are compared with is one process on one core.
    """
    counts = [2**power for power in range(1, 12) if 2**power <= cores]
    jobs = []
    for kind in ("strong", "weak"):
        one = alone(4)
        common: dict[str, Any] = {"size": size, "group": kind, "threads": 1}
        jobs.append(Job(name=f"{kind} single, 1", strategy=one, ranks=1, batch=batch, reference=True, **common))
        for name in names:
            for count in counts:
                share = batch * (count if kind == "weak" else 1)
                settings = runnable(every_strategy(count, 4 * count)[name], count, blocks, parts, share)
                if settings is not None:
                    named = f"{kind} {name}, {count}"
                    jobs.append(Job(name=named, strategy=settings, ranks=count, batch=share, **common))
    return jobs
