"""Utterance vectors against numpy and scipy on contours that are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parallel_ser.audio.frames import Delta
from parallel_ser.audio.functionals import MEASURES, Functionals, slopes
from parallel_ser.audio.pitch import VOICED_AT
from parallel_ser.audio.settings import FunctionalSettings

HOP = 0.01
NONE = {"deltas": 0, "voiced": (), "dct": 0, "segments": 0, "measures": False}
EVERY = ("mean", "std", "jump", "slope", "min", "p5", "p25", "p50", "p75", "p95", "max")
MEASURED = {name: float(place) for place, name in enumerate(MEASURES)}


def contours(rows: int, frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 2.0, (rows, frames)).astype(np.float32)


def values(rows: list[str], frames: np.ndarray, **settings: object) -> dict[str, float]:
    functionals = Functionals(rows, FunctionalSettings.model_validate(NONE | settings), HOP)
    vector = functionals(frames, MEASURED)
    assert vector.dtype == np.float32
    return dict(zip(functionals.names, vector.tolist(), strict=True))


def test_statistics_are_numpys_and_scipys() -> None:
    frames = contours(2, 83)
    found = values(["a", "b"], frames, statistics=EVERY)
    assert list(found)[:4] == ["a.mean", "b.mean", "a.std", "b.std"]
    for name, row in zip("ab", frames.astype(np.float64)):
        expected = {
            "mean": np.mean(row),
            "std": np.std(row),
            "jump": np.std(row[1:] - row[:-1]),
            "slope": scipy.stats.linregress(HOP * np.arange(83), row).slope,
            "min": min(row),
            "max": max(row),
            **{f"p{level}": np.percentile(row, level) for level in (5, 25, 50, 75, 95)},
        }
        assert {kind: found[f"{name}.{kind}"] for kind in EVERY} == pytest.approx(expected, rel=1e-5)


def test_the_slope_of_a_line_is_its_slope_per_second() -> None:
    line = np.vstack([7.0 - 40.0 * HOP * np.arange(60), np.full(60, 5.0)])
    found = values(["line", "level"], line, statistics=("slope", "jump"), deltas=1)
    assert found["line.slope"] == pytest.approx(-40.0, rel=1e-5)
    assert found["level.slope"] == pytest.approx(0.0, abs=1e-6)
    assert found["line.jump"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 7, 200])
def test_dct_is_scipys_over_the_number_of_frames(frames: int) -> None:
    row = contours(1, frames)
    found = values(["a"], row, statistics=("mean",), dct=6)
    whole = np.zeros(7)
    whole[: min(frames, 7)] = scipy.fft.dct(row[0].astype(np.float64))[:7]
    for number in range(1, min(frames, 7)):
        assert found[f"a.dct{number}"] == pytest.approx(whole[number] / (np.sqrt(2) * frames), abs=1e-6)


def test_the_shape_of_a_contour_does_not_change_with_its_length() -> None:
    def cosine(frames: int) -> dict[str, float]:
        time = (np.arange(frames) + 0.5) / frames
        return values(["a"], np.cos(2 * np.pi * time)[None], statistics=("mean",), dct=3)

    short, long = cosine(50), cosine(400)
    assert short == pytest.approx(long, abs=1e-6)
    assert long["a.dct2"] == pytest.approx(1 / np.sqrt(2), abs=1e-6)


@pytest.mark.parametrize("frames", [1, 3, 9, 120])
def test_slopes_are_those_of_a_line_fitted_to_nine_frames(frames: int) -> None:
    rows = contours(4, frames).astype(np.float64)
    padded, time = np.pad(rows, ((0, 0), (4, 4)), mode="edge"), np.arange(9)
    lines = [[np.polyfit(time, row[start : start + 9], 1)[0] for start in range(frames)] for row in padded]
    np.testing.assert_allclose(slopes(rows), lines, atol=1e-9)


def test_deltas_are_contours_of_their_own_and_those_given_are_left_to_them() -> None:
    frames = contours(2, 40)
    found = values(["a", "a.delta"], frames, statistics=("mean", "p95"), deltas=2)
    assert list(found) == [f"a{suffix}.{kind}" for kind in ("mean", "p95") for suffix in ("", ".delta", ".delta2")]
    first = Delta()(torch.from_numpy(frames[:1]))
    assert found["a.delta.p95"] == pytest.approx(np.percentile(first.numpy(), 95), rel=1e-4)
    assert found["a.delta2.mean"] == pytest.approx(float(Delta()(first).mean()), abs=1e-5)


def test_voiced_statistics_are_over_the_voiced_frames_alone() -> None:
    frames = contours(2, 50)
    frames[1] = np.where(np.arange(50) % 3 == 0, VOICED_AT, VOICED_AT - 0.01)
    found = values(["pitch", "voicing"], frames, statistics=("mean",), voiced=("mean", "p25"))
    voiced = frames[0, ::3]
    assert found["pitch.voiced.mean"] == pytest.approx(voiced.mean(), rel=1e-5)
    assert found["pitch.voiced.p25"] == pytest.approx(np.percentile(voiced, 25), rel=1e-5)
    frames[1] = 0.0  # no voice at all: over all frames
    found = values(["pitch", "voicing"], frames, statistics=("mean",), voiced=("mean",))
    assert found["pitch.voiced.mean"] == pytest.approx(found["pitch.mean"])
    assert list(values(["pitch"], frames[:1], statistics=("mean",), voiced=("mean",))) == ["pitch.mean"]


def test_parts_are_equal_parts_of_the_utterance() -> None:
    frames = np.repeat([[1.0, 2.0, 6.0]], 10, axis=1).reshape(3, 10).T.ravel()[None].astype(np.float32)
    frames = np.sort(frames)
    found = values(["a"], frames, statistics=("mean",), segments=3)
    assert [found[f"a.part{part}of3.mean"] for part in (1, 2, 3)] == [1.0, 2.0, 6.0]
    assert [found[f"a.part{part}of3.std"] for part in (1, 2, 3)] == [0.0, 0.0, 0.0]


def test_measures_come_last_under_their_own_names() -> None:
    found = values(["a"], contours(1, 20), statistics=("mean",), measures=True)
    assert list(found) == ["a.mean", *MEASURES]
    assert {name: found[name] for name in MEASURES} == MEASURED


def some(values: tuple[str, ...], least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, unique=True).map(tuple)


@given(
    frames=st.integers(1, 30),
    rows=st.lists(st.sampled_from(["a", "b", "a.delta", "voicing"]), min_size=1, unique=True),
    statistics=some(EVERY, 1),
    voiced=some(EVERY),
    deltas=st.integers(0, 2),
    dct=st.integers(0, 32),
    segments=st.integers(0, 10),
    measures=st.booleans(),
)
def test_every_value_is_finite_and_has_a_name_of_its_own(frames: int, rows: list[str], **settings) -> None:
    functionals = Functionals(rows, FunctionalSettings(**settings), HOP)
    if not functionals.names:
        return
    vector = functionals(contours(len(rows), frames), MEASURED)
    assert vector.shape == (len(functionals.names),)
    assert len(set(functionals.names)) == len(functionals.names)
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("group", ["statistics", "voiced"])
def test_a_statistic_named_twice_is_refused(group: str) -> None:
    with pytest.raises(ValidationError, match=f"functionals.{group} names a statistic twice"):
        FunctionalSettings.model_validate({group: ("mean", "std", "mean")})
