"""From samples to a table: medians, ratios with intervals, and what is wrong with a row. Pure.

A ratio is taken within a round, between measurements minutes apart at the most, so that what slows the machine slows
both. Its interval is Student's over the rounds' log ratios: rounds are what would be drawn anew, not the steps of one
round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from parallel_ser.bench.record import Record, Row, Sample
from parallel_ser.bench.suites import expected_bubble
from parallel_ser.parallel.settings import layout
from parallel_ser.parallel.strategies.registry import descriptor_of

LOSS_TOLERANCE = 1e-3
"""Relative; rounding alone stays below a tenth of it over the steps that are compared, a wrong gradient does not."""
COMPARED = 12
"""Losses that are compared, from the first; later ones carry the rounding that training has amplified."""
CORES_TOLERANCE = 1.15
"""Times its share of the cores that a row may use."""
LEAK = 2**20
"""Bytes a step from which memory that grows counts as a leak."""
AWAY = 1e-4
"""Relative difference of a tensor from one process's, both in float64, from which a row is no result."""
UNEQUAL = 1.12
"""Times the other ranks' mean processor time from which a rank counts as slowed, where work is divided evenly."""
BUSY = 1.25
"""Times the other ranks' mean time from which ranks that took alike processor time were disturbed."""

Interval = tuple[float, float]


def ratio(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> tuple[float, Interval | None]:
    """``theirs / ours`` of paired times: how many times as fast we are, and its interval (None for one pair)."""
    logs = [math.log(other / own) for own, other in zip(ours, theirs, strict=True)]
    middle = fmean(logs)
    if len(logs) < 2:
        return math.exp(middle), None
    from scipy.stats import t

    half = float(t.ppf(0.5 + level / 2, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), (math.exp(middle - half), math.exp(middle + half))


def table(record: Record) -> list[dict[str, Any]]:
    """A plain row for each job, in the record's order; what the reports print.

    Keys: ``name``, ``group``, ``ranks``, ``threads``, ``batch``, ``microbatches``, ``reference``, ``rounds``;
    ``step_ms`` with ``step_low`` and ``step_high`` (quartiles); ``utterances_s``, ``audio_s`` (training); ``infer_s``
    (utterances a second), ``p50_ms``, ``p95_ms``, ``p99_ms``; ``memory_mib`` (fullest rank), ``memory_all_mib``;
    ``sent_mib``; ``of_peak``, operations a second over the matrix peak of the cores or GPUs that the row has;
    ``compute``, ``communication``, ``bubble``, ``imbalance``, ``idle`` (shares of the step, means over ranks);
    ``expected_bubble`` of equal stages; ``predicted_idle``, of stages with the work that they were measured to have;
    ``speedup``, ``speedup_interval``; ``efficiency``; ``joules``; ``uar``; ``flags``;
    ``limit``, what costs the row most. ``efficiency`` is the speed over that of one core times the cores. None where
    there is nothing.
    """
    references = {row.job.group: row for row in record.rows if row.job.reference}
    rows = [_row(row, references.get(row.job.group), _peak(row, record)) for row in record.rows]
    alone = {row["group"]: row["utterances_s"] for row in rows if row["ranks"] * row["threads"] == 1}
    for row in rows:
        if row["utterances_s"] and alone.get(row["group"]):
            row["efficiency"] = row["utterances_s"] / alone[row["group"]] / (row["ranks"] * row["threads"])
    return rows


def _peak(row: Row, record: Record) -> float:
    """Operations a second that a row's cores or GPUs could do together."""
    return record.peak * row.job.ranks * (row.job.threads if record.device == "cpu" else 1)


def _row(row: Row, reference: Row | None, peak: float) -> dict[str, Any]:
    job, good = row.job, [one for one in row.samples if not one.problem]
    found: dict[str, Any] = {
        "name": job.name,
        "group": job.group,
        "ranks": job.ranks,
        "threads": job.threads,
        "batch": job.batch,
        "microbatches": job.strategy.microbatches,
        "reference": job.reference,
        "rounds": len(good),
        "expected_bubble": row.expected_bubble,
        "flags": flags(row, reference),
        "speedup": None,
        "speedup_interval": None,
    }
    if not good:
        return {**found, **dict.fromkeys(_MEASURED)}
    steps = [step for one in good for step in one.steps]
    latencies = np.array([second for one in good for second in one.latencies]) * 1e3
    step = median(median(one.steps) for one in good)
    shares = _shares(good)
    joules = [one.joules for one in good if one.joules is not None]
    found |= {
        "step_ms": 1e3 * step,
        "step_low": 1e3 * float(np.percentile(steps, 25)),
        "step_high": 1e3 * float(np.percentile(steps, 75)),
        "utterances_s": median(one.utterances / median(one.steps) for one in good),
        "audio_s": median(one.audio / median(one.steps) for one in good),
        "infer_s": median(one.inferred / one.inference for one in good),
        **{f"p{part}_ms": float(np.percentile(latencies, part)) if len(latencies) else None for part in (50, 95, 99)},
        "memory_mib": median(max(one.peaks) for one in good) / 2**20,
        "memory_all_mib": median(sum(one.peaks) for one in good) / 2**20,
        "sent_mib": median(sum(one.sent.values()) for one in good) / 2**20,
        **shares,
        "predicted_idle": _predicted(row, good),
        "joules": median(joules) if joules else None,
        "uar": median(one.uar for one in good),
        "efficiency": None,
        "of_peak": median(one.flops / median(one.steps) for one in good) / peak if peak else None,
        "limit": _limit(shares),
    }
    if reference is not None and not job.reference and (pairs := _pairs(row, reference)):
        ours, theirs = zip(*pairs, strict=True)
        found["speedup"], found["speedup_interval"] = ratio(ours, theirs)
    return found


_MEASURED = (
    *("step_ms", "step_low", "step_high", "utterances_s", "audio_s", "infer_s", "p50_ms", "p95_ms", "p99_ms"),
    *("memory_mib", "memory_all_mib", "sent_mib", "compute", "communication", "bubble", "imbalance", "idle"),
    *("predicted_idle", "joules", "uar", "efficiency", "of_peak", "limit"),
)


def _pairs(row: Row, reference: Row) -> list[tuple[float, float]]:
    """Seconds an utterance of a row and of its reference, of each round that both have."""
    theirs = {one.round: one for one in reference.samples if not one.problem}
    return [
        (median(one.steps) / one.utterances, median(other.steps) / other.utterances)
        for one in row.samples
        if not one.problem and (other := theirs.get(one.round)) is not None
    ]


def _shares(samples: Sequence[Sample]) -> dict[str, float | None]:
    """Shares of the step, means over ranks and rounds."""
    names = ("compute", "communication", "bubble", "imbalance")
    every = [share for one in samples for share in one.shares if share.step]
    if not every:
        return dict.fromkeys((*names, "idle"))
    found: dict[str, float | None] = {name: fmean(getattr(one, name) / one.step for one in every) for name in names}
    found["idle"] = fmean((one.bubble + one.imbalance) / one.step for one in every)
    return found


def _predicted(row: Row, samples: Sequence[Sample]) -> float | None:
    """The idle share that the simulator gives for the ranks' measured work; None where a stage has several ranks."""
    every = [[one.compute + one.communication for one in sample.shares] for sample in samples if sample.shares]
    if not every or row.expected_bubble is None or layout(row.job.strategy, row.job.ranks)[1] != row.job.ranks:
        return None
    return expected_bubble(row.job.strategy, row.job.ranks, [float(one) for one in np.median(every, axis=0)])


def _limit(shares: dict[str, float | None]) -> str:
    """The largest cost beside computing, in words; empty where nothing costs a twentieth of the step."""
    costs = {name: shares[name] or 0.0 for name in ("communication", "bubble", "imbalance")}
    worst = max(costs, key=lambda name: costs[name])
    return f"{worst} {costs[worst]:.0%}" if costs[worst] >= 0.05 else ""


def flags(row: Row, reference: Row | None) -> list[str]:
    """What is wrong with a row, each in one clause; a row with a flag that begins with INVALID is no result."""
    good = [one for one in row.samples if not one.problem]
    found = []
    for problem in dict.fromkeys(one.problem for one in row.samples if one.problem):
        found.append(f"failed: {problem}")
    if not good:
        return found
    if reference is not None and reference is not row and reference.job.batch == row.job.batch:
        found += _other_training(good, [one for one in reference.samples if not one.problem])
    found += _untrue(good)
    share = row.job.ranks * row.job.threads
    used = median(one.cores for one in good)
    if used > CORES_TOLERANCE * share:
        found.append(f"INVALID: used {used:.1f} cores of its {share}")
    elif (computing := median(one.busy for one in good)) > share:
        found.append(f"INVALID: {computing:.0f} threads computed where {share} may")
    growth = max(one.growth for one in good)  # watched in the first round alone
    if growth > LEAK:
        found.append(f"memory grows by {growth / 2**20:.1f} MiB a step")
    found += _slowed(row, good)
    return found


def _other_training(good: Sequence[Sample], reference: Sequence[Sample]) -> list[str]:
    """Whether the losses are those of the reference."""
    if not reference:
        return []
    ours, theirs = (np.array(side[0].losses[:COMPARED]) for side in (good, reference))
    count = min(len(ours), len(theirs))
    if not count:
        return ["INVALID: no losses"]
    away = np.abs(ours[:count] - theirs[:count]) / np.maximum(np.abs(theirs[:count]), 1e-9)
    if away.max() <= LOSS_TOLERANCE:
        if abs(good[0].utterances - reference[0].utterances) > 1e-6 * reference[0].utterances:
            return ["INVALID: trained on another number of utterances"]
        return []
    first = int(np.argmax(away > LOSS_TOLERANCE))
    return [f"INVALID: its losses leave one process's from step {first + 1} on (by {away.max():.1%})"]


def _untrue(good: Sequence[Sample]) -> list[str]:
    """Parts of what was trained that are not one process's."""
    found = []
    for part, (away, name) in next((one.check for one in good if one.check), {}).items():
        if away > AWAY:
            words = {"ema": "averaged weights", "optimizer": "optimizer's moments"}.get(part, part)
            what = f"{words} ({name})" if part != "predictions" else words
            by = "altogether" if away == float("inf") else f"by {away:.1%}"
            found.append(f"INVALID: its {what} differ from one process's {by}")
    return found


def _slowed(row: Row, good: Sequence[Sample]) -> list[str]:
    """A rank that computes longer than the others where every rank has as much to do (``even`` of its descriptor).

    By processor time: by the clock a rank also takes longer where another process was given its core.
    """
    shares = [one.shares for one in good if one.shares]
    if row.job.ranks < 2 or not descriptor_of(row.job.strategy.name).even or not shares:
        return []

    def worst(field: str) -> tuple[int, float]:
        """The rank that takes longest, and how many times as long as the others."""
        typical = np.median([[getattr(share, field) for share in each] for each in shares], axis=0)
        rank = int(typical.argmax())
        others = float(np.delete(typical, rank).mean())
        return rank, typical[rank] / others if others else 1.0

    rank, times = worst("cpu")
    if times > UNEQUAL:
        return [f"rank {rank} computes {times:.2f} times as long as the others"]
    rank, times = worst("compute")
    if times > BUSY:
        return [f"the machine was too busy to judge: rank {rank} took {times:.2f} times as long for as much work"]
    return []


def verdict(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The result in sentences: the fastest row, by how much, what limits the others, and whether one process wins."""
    valid = [row for row in rows if row["rounds"] and not any(flag.startswith("INVALID") for flag in row["flags"])]
    reference = next((row for row in valid if row["reference"]), None)
    others = [row for row in valid if row["speedup"] is not None]
    if reference is None or not others:
        return ["Nothing could be compared."]
    said = []
    fastest = max(others, key=lambda row: (row["ranks"] > 1, row["speedup"]))  # one core alone is no strategy
    where = f"{fastest['ranks']} process{'es' * (fastest['ranks'] > 1)} × {fastest['threads']}"
    times = f"{fastest['speedup']:.2f} times"
    if (interval := fastest["speedup_interval"]) is None:
        said.append(f"{fastest['name']} was {times} as fast as {reference['name']}; one round says nothing of chance.")
    elif interval[0] > 1.0:
        bounds = f"{interval[0]:.2f} to {interval[1]:.2f}"
        said.append(f"Fastest: {fastest['name']} ({where}), {times} as fast as {reference['name']} ({bounds}).")
    elif interval[1] < 1.0:
        said.append(f"One process wins: {reference['name']} is faster than every strategy on the same cores.")
    else:
        said.append(
            f"No difference between {reference['name']} and the fastest strategy, {fastest['name']} "
            f"({times}, {interval[0]:.2f} to {interval[1]:.2f})."
        )
    slower = sorted((row for row in others if row is not fastest), key=lambda row: -row["speedup"])
    for row in slower:
        why = f": {row['limit']} of its step" if row["limit"] else ""
        said.append(f"{row['name']}: {row['speedup']:.2f} times{why}.")
    bad = [row for row in rows if row not in valid]
    for row in bad:
        said.append(f"{row['name']} is no result: {'; '.join(row['flags']) or 'not measured'}.")
    return said


def regressions(new: Sequence[dict[str, Any]], old: Sequence[dict[str, Any]]) -> list[str]:
    """Rows whose speed-up fell below the old one's by more than the noise of both: their intervals do not meet."""
    before = {row["name"]: row for row in old}
    found = []
    for row in new:
        other = before.get(row["name"])
        if other is None or not row["speedup_interval"] or not other["speedup_interval"]:
            continue
        if row["speedup_interval"][1] < other["speedup_interval"][0]:
            found.append(f"{row['name']}: {row['speedup']:.2f} times, where it was {other['speedup']:.2f}")
    return found
