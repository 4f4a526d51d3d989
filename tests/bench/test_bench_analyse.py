"""What a benchmark makes of its samples, against arithmetic and planted samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from parallel_ser.bench import analyse, present
from parallel_ser.bench.record import Job, RankShare, Record, Row, Sample
from parallel_ser.parallel.settings import StrategySettings

LOSSES = tuple(2.0 - 0.05 * step for step in range(12))


def job(name: str, ranks: int = 2, threads: int = 1, reference: bool = False, strategy: str = "ddp") -> Job:
    return Job(
        name=name,
        strategy=StrategySettings(name=strategy),  # type: ignore[arg-type]
        ranks=ranks,
        threads=threads,
        batch=32,
        size="s",
        reference=reference,
    )


def sample(number: int = 0, step: float = 0.1, **changes: Any) -> Sample:
    shares = tuple(
        RankShare(rank=rank, step=step, compute=0.8 * step, communication=0.2 * step, bubble=0.0, imbalance=0.0)
        for rank in range(2)
    )
    given = {"losses": LOSSES, "utterances": 32.0, "audio": 60.0, "inference": 1.0, "inferred": 100}
    given |= {"latencies": (0.01, 0.02), "peaks": (2**27, 2**26), "cores": 1.9, "shares": shares}
    return Sample(round=number, steps=(step, step, step), **{**given, **changes})


def record(*rows: Row) -> Record:
    return Record(suite="strategies", command="", environment={}, settings={}, data="", rows=rows)


def two(changes: dict[str, Any], strategy: str = "ddp") -> dict[str, Any]:
    """The table's row of a strategy whose sample has these changes."""
    reference = Row(job=job("single", 1, 2, True, "single"), samples=(sample(),))
    return analyse.table(record(reference, Row(job=job("other", strategy=strategy), samples=(sample(**changes),))))[1]


def test_the_title_names_the_network_that_was_measured() -> None:
    found = record(Row(job=job("single", 1, 2, True, "single"), samples=(sample(),)))
    assert "s network" in present.title(found)
    own = found.model_copy(update={"settings": {"model": {"size": "s", "file": "/models/mine.py"}}})
    assert present.title(own).startswith("strategies: mine.py, ")


def test_ratio_is_the_geometric_mean_with_students_interval_of_the_logs() -> None:
    ours, theirs = [0.10, 0.11, 0.12, 0.10], [0.2, 0.21, 0.25, 0.22]
    logs = np.log(np.array(theirs) / np.array(ours))
    middle, interval = analyse.ratio(ours, theirs)
    low, high = stats.t.interval(0.95, 3, loc=logs.mean(), scale=stats.sem(logs))
    assert middle == pytest.approx(math.exp(logs.mean()))
    assert interval == pytest.approx((math.exp(low), math.exp(high)))


def test_one_round_has_no_interval_and_equal_rounds_a_narrow_one() -> None:
    assert analyse.ratio([0.1], [0.2]) == (pytest.approx(2.0), None)
    assert analyse.ratio([0.1, 0.1], [0.2, 0.2])[1] == pytest.approx((2.0, 2.0))


def test_figures_of_a_row_are_the_samples_medians() -> None:
    row = Row(job=job("single", 1, 2, True, "single"), samples=tuple(sample(n, 0.1 * (n + 1)) for n in range(3)))
    [found] = analyse.table(record(row))
    assert found["step_ms"] == pytest.approx(200.0)
    assert found["utterances_s"] == pytest.approx(160.0)
    assert found["memory_mib"] == 128.0
    assert found["memory_all_mib"] == 192.0
    assert found["p50_ms"] == pytest.approx(15.0)
    assert found["communication"] == pytest.approx(0.2)


def test_speedups_pair_the_rounds_that_both_have() -> None:
    reference = Row(job=job("single", 1, 2, True, "single"), samples=(sample(0, 0.4), sample(1, 0.8)))
    other = Row(job=job("ddp"), samples=(sample(1, 0.4), sample(2, 9.0)))
    assert analyse.table(record(reference, other))[1]["speedup"] == pytest.approx(2.0)


def test_efficiency_is_against_one_core() -> None:
    alone = Row(job=job("single, one core", 1, 1, strategy="single"), samples=(sample(step=0.4),))
    both = Row(job=job("ddp"), samples=(sample(step=0.25),))
    assert analyse.table(record(alone, both))[1]["efficiency"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"losses": tuple(loss * 1.01 for loss in LOSSES)}, "INVALID: its losses leave one process's from step 1"),
        ({"losses": (*LOSSES[:5], *(loss + 0.1 for loss in LOSSES[5:]))}, "from step 6"),
        ({"utterances": 16.0}, "INVALID: trained on another number"),
        ({"cores": 2.9}, "INVALID: used 2.9 cores of its 2"),
        ({"cores": 1.1, "busy": 4}, "INVALID: 4 threads computed where 2 may"),
        ({"growth": 4.0 * 2**20}, "memory grows by 4.0 MiB a step"),
        ({"problem": "rank 1: out of memory"}, "failed: rank 1: out of memory"),
    ],
)
def test_a_spoilt_row_is_called_what_it_is(changes: dict[str, Any], said: str) -> None:
    assert said in "; ".join(two(changes)["flags"])


def test_rounding_is_no_flag() -> None:
    assert two({"losses": tuple(loss * (1 + 1e-5) for loss in LOSSES)})["flags"] == []


def shares(*given: tuple[float, float]) -> tuple[RankShare, ...]:
    """Of ranks that computed so many seconds by the clock and of the processor."""
    none = {"communication": 0.0, "bubble": 0.0}
    return tuple(
        RankShare(rank=rank, step=1.0, compute=wall, imbalance=1.0 - wall, cpu=cpu, **none)
        for rank, (wall, cpu) in enumerate(given)
    )


def test_a_slowed_rank_is_named_where_work_is_even_and_not_in_a_pipeline() -> None:
    slower = shares((0.3, 0.3), (0.9, 0.9))
    assert two({"shares": slower})["flags"] == ["rank 1 computes 3.00 times as long as the others"]
    assert two({"shares": slower}, "pipeline")["flags"] == []
    assert two({"shares": slower}, "pipeline")["limit"] == "imbalance 40%"


def test_a_rank_is_slow_by_what_it_computes_and_not_by_what_else_the_machine_does() -> None:
    assert two({"shares": shares((0.5, 0.5), (0.6, 0.6))})["flags"] == [
        "rank 1 computes 1.20 times as long as the others"
    ]
    disturbed = two({"shares": shares((0.9, 0.51), (0.5, 0.5))})["flags"]
    assert disturbed == ["the machine was too busy to judge: rank 0 took 1.80 times as long for as much work"]
    assert two({"shares": shares((0.5, 0.5), (0.52, 0.53))})["flags"] == []


def test_what_differs_from_one_process_is_named() -> None:
    checked = {
        "weights": (1e-6, "stem.conv.weight"),
        "optimizer": (0.2, "head.weight/exp_avg"),
        "predictions": (0.5, "0"),
    }
    assert two({"check": checked})["flags"] == [
        "INVALID: its optimizer's moments (head.weight/exp_avg) differ from one process's by 20.0%",
        "INVALID: its predictions differ from one process's by 50.0%",
    ]


def verdict(*steps: float, single: float = 0.1) -> str:
    reference = Row(job=job("single", 1, 2, True, "single"), samples=tuple(sample(n, single) for n in range(3)))
    other = Row(job=job("ddp"), samples=tuple(sample(n, step) for n, step in enumerate(steps)))
    return analyse.verdict(analyse.table(record(reference, other)))[0]


def test_verdict_names_the_fastest_the_single_process_or_no_difference() -> None:
    assert verdict(0.05, 0.051, 0.049).startswith("Fastest: ddp (2 processes × 1), 2.00 times as fast as single")
    assert verdict(0.2, 0.21, 0.19).startswith("One process wins")
    assert verdict(0.08, 0.13, 0.1).startswith("No difference")


def test_an_invalid_row_never_wins() -> None:
    reference = Row(job=job("single", 1, 2, True, "single"), samples=(sample(0), sample(1)))
    fast = Row(job=job("ddp"), samples=(sample(0, 0.01, losses=(9.0,)), sample(1, 0.01, losses=(9.0,))))
    rows = analyse.table(record(reference, fast))
    assert analyse.verdict(rows) == ["Nothing could be compared."]


def test_regressions_are_beyond_the_noise_of_both() -> None:
    def rows(*steps: float) -> list[dict[str, Any]]:
        reference = Row(job=job("single", 1, 2, True, "single"), samples=tuple(sample(n) for n in range(3)))
        other = Row(job=job("ddp"), samples=tuple(sample(n, step) for n, step in enumerate(steps)))
        return analyse.table(record(reference, other))

    assert analyse.regressions(rows(0.1, 0.101, 0.099), rows(0.05, 0.051, 0.049)) == [
        "ddp: 1.00 times, where it was 2.00"
    ]
    assert analyse.regressions(rows(0.1, 0.2, 0.05), rows(0.05, 0.06, 0.04)) == []
    assert analyse.regressions(rows(0.05, 0.051, 0.049), rows(0.1, 0.101, 0.099)) == []


@pytest.mark.parametrize("parts", [4, 8, 16])
def test_predicted_idle_is_the_formula_of_unequal_stages(parts: int) -> None:
    """GPipe over a short and a long stage: the long one has no gap but for the first part and the last."""
    short, long = 0.25, 0.75  # of work in a step, forward a third of it
    shares = tuple(
        RankShare(rank=rank, step=1.0, compute=work, communication=0.0, bubble=0.0, imbalance=0.0)
        for rank, work in enumerate((short, long))
    )
    strategy = StrategySettings(name="pipeline", schedule="gpipe", microbatches=parts)
    row = Row(
        job=job("pipeline", strategy="pipeline").model_copy(update={"strategy": strategy}),
        expected_bubble=1 / (parts + 1),
        samples=(sample(shares=shares),),
    )
    found = analyse.table(record(row))[0]["predicted_idle"]
    step = long + short / parts  # the first part forward and the last one backward through the short stage
    assert found == pytest.approx(1 - (short + long) / (2 * step))


def test_where_a_stage_has_several_ranks_nothing_is_predicted() -> None:
    assert two({})["predicted_idle"] is None


def test_the_share_of_the_peak_is_of_the_cores_that_a_row_has() -> None:
    row = Row(job=job("other", ranks=2, threads=3), samples=(sample(step=0.1, flops=6e9),))
    found = record(row).model_copy(update={"peak": 2e10})
    assert analyse.table(found)[0]["of_peak"] == pytest.approx(6e9 / 0.1 / (6 * 2e10))
    assert analyse.table(found.model_copy(update={"device": "cuda"}))[0]["of_peak"] == pytest.approx(6e10 / (2 * 2e10))
    assert analyse.table(record(row))[0]["of_peak"] is None


def test_losses_of_another_batch_are_not_compared() -> None:
    reference = Row(job=job("weak single, 1", 1, 1, True, "single"), samples=(sample(cores=1.0),))
    grown = job("weak ddp, 2").model_copy(update={"batch": 64})
    row = Row(job=grown, samples=(sample(losses=tuple(one + 1.0 for one in LOSSES), utterances=64.0),))
    found = analyse.table(record(reference, row))[1]
    assert not found["flags"]
    assert found["speedup"] == pytest.approx(2.0)  # of utterances a second
