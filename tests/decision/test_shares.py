"""Shares corrected for confusions, against mixtures that are known."""

from __future__ import annotations

import numpy as np
import pytest

from parallel_ser.decision.shares import LEAST, mean, shares, unmixed

ROWS = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.25, 0.05, 0.7]])
CLASSES = ("anger", "joy", "sadness")


def test_what_a_mixture_makes_is_undone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = rng.dirichlet(np.ones(3))
        np.testing.assert_allclose(unmixed(truth @ ROWS, ROWS, steps=20000), truth, atol=2e-3)


def test_it_is_the_maximum_of_the_likelihood() -> None:
    heard = np.array([0.95, 0.04, 0.01])  # no mixture makes this: the nearest lies on the border
    best = unmixed(heard, ROWS, steps=5000)
    likelihood = heard @ np.log(best @ ROWS)
    for other in np.random.default_rng(0).dirichlet(np.ones(3), 500):
        assert heard @ np.log(other @ ROWS) <= likelihood + 1e-6


def test_the_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth, inside = np.array([0.5, 0.3, 0.2]), 0
    confusion = np.stack([rng.multinomial(200, row) for row in ROWS])
    for seed in range(60):
        labels = rng.choice(3, 300, p=truth)
        heard = np.array([rng.choice(3, p=ROWS[label]) for label in labels])
        for row, true in zip(shares(heard, np.ones(300), CLASSES, confusion, seed), truth):
            assert row.corrected_interval is not None
            inside += row.corrected_interval[0] <= true <= row.corrected_interval[1]
    assert inside >= 0.88 * 180


def test_seconds_count_and_few_segments_have_no_interval() -> None:
    found = shares(np.array([0, 1]), np.array([3.0, 1.0]), CLASSES, None)
    assert [one.raw for one in found] == [0.75, 0.25, 0.0]
    assert all(one.raw_interval is None and one.corrected is None for one in found)
    assert shares(np.zeros(0, int), np.zeros(0), CLASSES, None) == []


def test_an_emotion_that_was_not_tested_cannot_be_corrected_for() -> None:
    confusion = np.array([[5, 1, 0], [0, 0, 0], [1, 1, 9]])
    assert all(one.corrected is None for one in shares(np.zeros(30, int), np.ones(30), CLASSES, confusion))


def test_a_mean_has_an_interval_where_there_is_enough() -> None:
    values = np.random.default_rng(0).normal(1.0, 0.5, 200)
    found = mean(values, np.ones(200))
    assert found["value"] == pytest.approx(values.mean())
    assert found["low"] is not None
    assert found["high"] is not None
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(200), rel=0.3)
    assert mean(values[: LEAST - 1], np.ones(LEAST - 1))["low"] is None
