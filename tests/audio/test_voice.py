"""Jitter and shimmer of pulses whose periods and heights are known; real agreement is benchmarks/praat.py's."""

from __future__ import annotations

import numpy as np
import pytest

from parallel_ser.analysis.measures import measured, summary
from parallel_ser.audio.syllables import syllables
from parallel_ser.audio.voice import pulses, voice_pitch

RATE = 16000


def pulsed(periods: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """A voice: at each pulse a damped resonance, placed between samples."""
    times = np.cumsum(periods)
    count = round((times[-1] + 0.05) * RATE)
    at = np.arange(count) / RATE
    out = np.zeros(count)
    for time, height in zip(times, heights):
        since = at - time
        own = since >= 0.0
        out[own] += height * np.exp(-500.0 * since[own]) * np.sin(2 * np.pi * 700.0 * since[own])
    return (0.3 * out / np.abs(out).max()).astype(np.float32)


def local(values: np.ndarray) -> float:
    """Mean absolute difference of neighbours over the mean, in per cent."""
    return float(100.0 * np.abs(np.diff(values)).mean() / values.mean())


def told(signal: np.ndarray) -> dict[str, float]:
    return {
        name: float(one["value"] or 0) for name, one in summary([measured(signal, RATE, voice_pitch(RATE))]).items()
    }


@pytest.mark.parametrize("amount", [0.005, 0.02])
def test_jitter_is_that_of_the_periods(amount: float) -> None:
    periods = 0.008 * (1.0 + amount * np.random.default_rng(0).standard_normal(150))
    assert told(pulsed(periods, np.ones(150)))["jitter"] == pytest.approx(local(periods), rel=0.25)


def test_shimmer_is_that_of_the_heights() -> None:
    heights = 1.0 + 0.06 * np.random.default_rng(0).standard_normal(150)
    found = told(pulsed(np.full(150, 0.008), heights))
    assert found["shimmer"] == pytest.approx(local(heights), rel=0.25)
    assert found["jitter"] < 0.3


def test_pulses_are_a_period_apart() -> None:
    signal = pulsed(np.full(100, 0.008), np.ones(100)).astype(np.float64)
    f0 = np.full(len(signal) // 160 + 1, 125.0)
    (points,) = pulses(signal, RATE, f0, 0.01)
    assert len(points) >= 97
    np.testing.assert_allclose(np.diff(points), 0.008, atol=2e-5)


def test_a_glide_has_the_variability_of_its_pitch() -> None:
    time = np.arange(3 * RATE) / RATE
    semitones = 3.0 * np.sin(2 * np.pi * 0.8 * time)
    phase = 2 * np.pi * np.cumsum(120.0 * 2.0 ** (semitones / 12.0)) / RATE
    found = told((0.1 * sum(np.sin(k * phase) / k for k in range(1, 12))).astype(np.float32))
    assert found["f0_variability"] == pytest.approx(semitones.std(), rel=0.1)
    assert found["f0_median"] == pytest.approx(120.0, rel=0.05)
    assert found["hnr"] > 15.0


def test_cpp_is_high_in_a_voice_and_low_in_noise() -> None:
    rng = np.random.default_rng(0)
    voice = pulsed(np.full(150, 0.008), np.ones(150))
    hoarse = voice + 0.05 * rng.standard_normal(len(voice)).astype(np.float32)
    assert told(voice)["cpp"] > told(hoarse)["cpp"] + 3.0


def test_bursts_of_voice_are_syllables() -> None:
    time = np.arange(4 * RATE) / RATE
    voice = sum(np.sin(2 * np.pi * 130.0 * k * time) / k for k in range(1, 15))
    bursts = (0.1 * voice * np.maximum(0.02, np.sin(2 * np.pi * 2.0 * time)) ** 2).astype(np.float32)
    assert syllables(bursts, RATE, np.full(401, 0.9), 0.01) == 8
    assert syllables(bursts, RATE, np.full(401, 0.4), 0.01) == 0


def test_what_has_no_voice_has_no_measure_of_it() -> None:
    quiet = told(np.zeros(RATE, np.float32))
    assert "jitter" not in quiet
    assert quiet["speech_rate"] == 0.0
    assert "f0_median" not in told((0.01 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)[:800])
