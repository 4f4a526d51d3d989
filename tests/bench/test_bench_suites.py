"""Which rows a suite has, against what each must have in common and the formulas of the literature."""

from __future__ import annotations

import pytest

from parallel_ser.bench import suites
from parallel_ser.parallel.requirements import find_incompatibility
from parallel_ser.parallel.schedule import registry
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.strategies.registry import strategies

BLOCKS, PARTS = 11, 8


@pytest.mark.parametrize(("ranks", "cores"), [(2, 2), (2, 4), (4, 4), (4, 8)])
def test_every_row_has_the_same_cores_and_can_run(ranks: int, cores: int) -> None:
    jobs = suites.strategies(ranks, cores, "s", 32, 4, BLOCKS, PARTS)
    assert {job.ranks * job.threads for job in jobs} == {cores}
    assert len({job.name for job in jobs}) == len(jobs)
    for job in jobs:
        assert find_incompatibility(job.strategy, job.ranks, BLOCKS, PARTS) is None
        assert job.batch == 32


def test_all_strategies_are_there() -> None:
    names = {(job.strategy.name, job.strategy.schedule) for job in suites.strategies(2, 2, "s", 32, 4, BLOCKS, PARTS)}
    assert {name for name, _ in names} == set(strategies())
    assert {schedule for name, schedule in names if name == "pipeline"} == set(registry.names())


def test_wanted_keeps_rows_by_how_they_begin() -> None:
    jobs = suites.strategies(2, 2, "s", 32, 4, BLOCKS, PARTS, ("tensor_split", "ddp"))
    assert [job.name for job in jobs if job.strategy.name != "single"] == [
        *("tensor_split channel", "tensor_split time", "ddp")
    ]


def test_a_rows_own_name_keeps_that_row_alone() -> None:
    names = suites.every_strategy(4, 4)
    assert suites.chosen(names, ["pipeline 1f1b"]) == ["pipeline 1f1b"]
    many = suites.chosen(names, ["pipeline 1f1b × ", "ddp"])
    assert {"pipeline 1f1b × data 2", "pipeline 1f1b × time 2", "ddp"} <= set(many)
    assert "pipeline 1f1b" not in many


def test_settle_keeps_the_fastest_single_process_as_the_reference() -> None:
    jobs = suites.strategies(2, 2, "s", 32, 4, BLOCKS, PARTS)
    seconds = {"single, 1 micro-batch": 0.3, "single, 2 micro-batches": 0.1, "single, 4 micro-batches": 0.2}
    kept = suites.settle(jobs, seconds)
    assert [job.name for job in kept[:2]] == ["single", "single, one core"]
    assert kept[0].reference
    assert kept[0].strategy.microbatches == 2
    assert (kept[0].threads, kept[1].threads) == (2, 1)
    assert sum(job.strategy.name == "single" for job in kept) == 2


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize(("ranks", "parts"), [(2, 4), (4, 8), (4, 16)])
def test_expected_bubble_is_that_of_gpipes_formula(schedule: str, ranks: int, parts: int) -> None:
    settings = StrategySettings(name="pipeline", schedule=schedule, microbatches=parts)  # type: ignore[arg-type]
    assert suites.expected_bubble(settings, ranks) == pytest.approx((ranks - 1) / (parts + ranks - 1))
    assert suites.expected_bubble(StrategySettings(name="ddp"), ranks) is None


def test_scaling_compares_with_one_core_and_weak_batches_grow() -> None:
    jobs = suites.scaling(4, "s", 16, PARTS, BLOCKS, ["ddp"])
    assert [(job.group, job.ranks, job.batch) for job in jobs] == [
        *(("strong", 1, 16), ("strong", 2, 16), ("strong", 4, 16)),
        *(("weak", 1, 16), ("weak", 2, 32), ("weak", 4, 64)),
    ]
    assert all(job.threads == 1 for job in jobs)
