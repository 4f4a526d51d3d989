"""Smoothing over time against the sum written out, and the places of emotions."""

from __future__ import annotations

import numpy as np
import pytest

from parallel_ser.corpora.labels import SEVEN
from parallel_ser.decision.timeline import AROUSAL, VALENCE, dimensions, smoothed


def test_smoothing_is_the_weighted_mean() -> None:
    rng = np.random.default_rng(0)
    rows, times, seconds = rng.dirichlet(np.ones(4), 30), np.sort(rng.uniform(0, 60, 30)), rng.uniform(1, 6, 30)
    found = smoothed(rows, times, seconds, width=4.0)
    for row in range(30):
        weights = [
            length * np.exp(-((time - times[row]) ** 2) / (2 * 4.0**2)) if abs(time - times[row]) <= 12.0 else 0.0
            for time, length in zip(times, seconds)
        ]
        np.testing.assert_allclose(found[row], np.average(rows, axis=0, weights=weights))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_array_equal(smoothed(rows, times, seconds, width=0.0), rows)


def test_every_emotion_has_its_place() -> None:
    assert set(SEVEN) <= set(AROUSAL) == set(VALENCE)
    arousal, valence = dimensions(np.array([[0.5, 0.25, 0.25]]), ["anger", "sadness", None])
    assert (arousal[0], valence[0]) == (pytest.approx(0.25), pytest.approx(-0.75))
