"""Correlations of contours, against SciPy's logarithm of a matrix and NumPy's correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import logm

from parallel_ser.audio.correlations import LAGS, SHRINKAGE, Correlations
from parallel_ser.audio.functionals import slopes

ROWS = ["logmel0", "pitch", "mfcc1", "mfcc1.delta", "loudness"]
GIVEN = ["pitch", "mfcc1", "loudness"]


def walk(rows: int, frames: int, seed: int = 0) -> np.ndarray:
    """Contours that move slowly and go with each other."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(rows, rows)) @ rng.normal(size=(rows, frames))
    return np.cumsum(steps, axis=1).astype(np.float32)


def of(frames: np.ndarray, hop: float = 0.01, rows: list[str] = ROWS) -> dict[str, float]:
    correlations = Correlations(rows, hop)
    return dict(zip(correlations.names, correlations(frames).tolist(), strict=True))


def test_values_are_those_of_scipy_and_numpy() -> None:
    frames = walk(5, 90)
    described = of(frames)
    own = frames[[1, 2, 4]].astype(np.float64)
    contours, names = np.concatenate([own, slopes(own)]), [*GIVEN, *(f"{name}.delta" for name in GIVEN)]
    expected = logm((1 - SHRINKAGE) * np.corrcoef(contours) + SHRINKAGE * np.eye(6))
    for place, name in enumerate(names):
        assert described[f"{name}.log_std"] == pytest.approx(np.log(contours[place].std()), abs=1e-5)
        for other in range(place + 1, 6):
            assert described[f"{name}~{names[other]}"] == pytest.approx(expected[place, other], abs=1e-5)
    scaled = (own - own.mean(axis=1, keepdims=True)) / own.std(axis=1, keepdims=True)
    for lag in LAGS:
        later = lag // 10
        for place, name in enumerate(GIVEN):
            for other, another in enumerate(GIVEN):
                mean = np.mean([scaled[place, at] * scaled[other, at + later] for at in range(90 - later)])
                assert described[f"{name}~{another}.{lag}ms"] == pytest.approx(mean, abs=1e-5)
    assert len(described) == 6 + 15 + 3 * 9


def test_levels_and_units_change_nothing_but_the_deviations() -> None:
    frames = walk(5, 70)
    factors = np.array([1.0, 3.0, 0.5, 1.0, 2.0], np.float32)
    before, after = of(frames), of(frames * factors[:, None] + 5.0)
    factor = dict(zip(ROWS, factors))
    for name, value in before.items():
        moved = np.log(factor[name.partition(".")[0]]) if name.endswith("log_std") else 0.0
        assert after[name] == pytest.approx(value + moved, abs=2e-3), name


def test_log_mel_bands_are_taken_where_there_is_nothing_else() -> None:
    assert all("logmel" not in name for name in of(walk(5, 50)))
    assert "logmel0~logmel1" in of(walk(2, 50), rows=["logmel0", "logmel1"])


def test_lags_are_in_seconds() -> None:
    often = walk(5, 160)
    coarse = of(often[:, ::2], hop=0.02)
    fine = of(often)
    for name, value in coarse.items():
        if name.endswith("320ms"):
            assert value == pytest.approx(fine[name], abs=0.1), name


@pytest.mark.parametrize("frames", [1, 2, 9, 33])
def test_a_constant_contour_and_a_short_utterance_have_finite_values(frames: int) -> None:
    values = walk(5, frames)
    values[1] = 3.0
    described = of(values)
    assert np.isfinite(list(described.values())).all()
    lags = {name: value for name, value in described.items() if name.endswith("ms")}
    assert all(value == 0.0 for name, value in lags.items() if "pitch" in name)
    if frames < 33:
        assert all(value == 0.0 for name, value in lags.items() if name.endswith("320ms"))
