"""A person's own baseline against the formula, and what is needed for one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from parallel_ser.analysis.series import BASELINE, LEAST_SPEECH, band, series
from parallel_ser.analysis.store import Stored


def sessions(rates: list[float], speech: float = 2 * LEAST_SPEECH, runs: tuple[str, ...] = ("run",)) -> list[Stored]:
    return [
        Stored(
            f"2026-01-{day:02}",
            "free speech",
            f"{day}.wav",
            f"digest-{day}",
            {
                "speech": speech,
                "measures": {"speech_rate": {"value": rate, "low": None, "high": None}},
                "dimensions": {"arousal": {"value": rate / 10, "low": None, "high": None}},
                "run": runs[day % len(runs)],
            },
            (),
        )
        for day, rate in enumerate(rates, 1)
    ]


def test_one_more_session_lies_in_the_band_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        values = rng.normal(4.0, 0.5, BASELINE + 1)
        _, low, high = band(values[:-1].tolist())
        inside += low <= values[-1] <= high
    assert stats.binomtest(inside, 2000, 0.95).pvalue > 0.001


def test_the_baseline_is_the_first_sessions_and_needs_enough_of_them() -> None:
    rates = [4.0, 4.2, 3.9, 4.1, 4.3, 9.0]
    found = series("anna", sessions(rates), "digest-6")
    assert found["bands"]["speech_rate"]["mean"] == pytest.approx(np.mean(rates[:BASELINE]))
    assert [one["in_baseline"] for one in found["sessions"]] == [True] * BASELINE + [False]
    assert [one["this"] for one in found["sessions"]] == [False] * BASELINE + [True]
    assert series("anna", sessions(rates[:4]), "digest-4")["bands"] == {}


def test_sessions_with_little_speech_are_shown_and_not_compared() -> None:
    found = series("anna", sessions([4.0] * 9, LEAST_SPEECH - 1.0), "digest-1")
    assert (found["bands"], found["ready"], len(found["sessions"])) == ({}, 0, 9)


def test_arousal_is_compared_where_one_run_heard_it() -> None:
    rates = [4.0, 4.2, 3.9, 4.1, 4.3, 9.0]
    assert series("anna", sessions(rates), "digest-6")["bands"]["arousal"]["mean"] == pytest.approx(0.41)
    assert list(series("anna", sessions(rates, runs=("a", "b")), "digest-6")["bands"]) == ["speech_rate"]
