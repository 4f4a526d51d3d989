"""Augmentation against numpy's own interpolation and what masks promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.audio.augment import add_noise, gain, hops_of, shift_bands, signal_of, spec_augment, speed, stretch

ZERO = np.zeros((1, 1), np.float32)


def noise(rows: int, frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, frames)).astype(np.float32)


@given(frames=st.integers(1, 50), count=st.integers(1, 90))
def test_stretch_is_linear_interpolation(frames: int, count: int) -> None:
    one = noise(3, frames, frames)
    out = stretch(one, count)
    places = np.linspace(0, frames - 1, count)
    truth = np.stack([np.interp(places, np.arange(frames), row) for row in one])
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, truth, rtol=1e-4, atol=1e-4)


def test_stretch_to_the_same_length_changes_nothing() -> None:
    one = noise(4, 33)
    np.testing.assert_allclose(stretch(one, 33), one, rtol=1e-6)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.13])
def test_bands_move_and_the_other_rows_stay(factor: float) -> None:
    one = noise(10, 7)
    out = shift_bands(one, factor, 8)
    places = np.minimum(np.arange(8) * factor, 7)
    truth = np.stack([np.interp(places, np.arange(8), column) for column in one[:8].T], axis=1)
    np.testing.assert_allclose(out[:8], truth, rtol=1e-4, atol=1e-5)
    assert np.array_equal(out[8:], one[8:])
    assert out.dtype == np.float32


def test_without_bands_nothing_moves() -> None:
    one = noise(5, 7)
    assert np.array_equal(shift_bands(one, 1.2, 0), one)


def test_a_peak_goes_where_the_factor_sends_it() -> None:
    one = np.zeros((40, 1), dtype=np.float32)
    one[20] = 1.0
    assert int(shift_bands(one, 0.8, 40).argmax()) == 25  # band 25 now reads what lies at 20


@given(rows=st.integers(1, 40), frames=st.integers(1, 120), seed=st.integers(0, 1000))
def test_masks_are_bands_of_at_most_an_eighth(rows: int, frames: int, seed: int) -> None:
    one = np.ones((rows, frames), dtype=np.float32)
    out = spec_augment(one, np.random.default_rng(seed), ZERO, masks=1)
    assert set(np.unique(out)) <= {0.0, 1.0}
    kept_rows, kept_frames = out.any(axis=1), out.any(axis=0)
    np.testing.assert_array_equal(out, np.outer(kept_rows, kept_frames))  # whole rows and whole frames
    for kept in (kept_rows, kept_frames):
        assert (~kept).sum() <= len(kept) // 8
        assert np.abs(np.diff(kept.astype(int))).sum() <= 2  # in one piece
    assert one.all()  # the features of the next epoch


def test_a_seed_says_what_is_masked() -> None:
    one = noise(32, 100)
    first, same, other = (spec_augment(one, np.random.default_rng(seed), ZERO) for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.array_equal(first[first != 0], one[first != 0])


def test_masks_are_as_wide_as_they_should_be_on_average() -> None:
    one = np.ones((64, 160), dtype=np.float32)
    rng = np.random.default_rng(5)
    masked = np.mean([1 - spec_augment(one, rng, ZERO, masks=1).any(axis=0).mean() for _ in range(600)])
    assert masked == pytest.approx(10 / 160, abs=0.006)  # widths 0 to 20, all alike


def test_what_is_masked_is_the_mean_of_its_row() -> None:
    one, mean = noise(32, 100), np.arange(100, 132, dtype=np.float32)[:, None]
    out = spec_augment(one, np.random.default_rng(1), mean)
    changed = out != one
    assert changed.any()
    np.testing.assert_array_equal(out[changed], np.broadcast_to(mean, one.shape)[changed])


def test_a_signal_at_another_speed_lasts_as_long_as_is_asked_and_sounds_higher() -> None:
    time = np.arange(8000) / 16000
    signal = np.sin(2 * np.pi * 400 * time).astype(np.float32)
    faster = speed(signal, 6400)
    assert len(faster) == 6400
    spectrum = np.abs(np.fft.rfft(faster))
    assert int(spectrum.argmax()) * 16000 / 6400 == pytest.approx(400 * 8000 / 6400, abs=3)


def test_hops_and_samples_are_one_signal() -> None:
    signal = np.arange(12.0)
    assert hops_of(signal, 4)[:, 1].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert signal_of(hops_of(signal, 4)).tolist() == signal.tolist()


def test_noise_has_the_ratio_that_is_asked() -> None:
    rng = np.random.default_rng(0)
    signal = np.sin(np.arange(40_000) / 7).astype(np.float32)
    noise = add_noise(signal, rng, 10.0, 10.0) - signal
    assert 10 * np.log10(np.mean(signal**2) / np.mean(noise**2)) == pytest.approx(10.0, abs=0.1)
    ratios = [20 * np.log10(gain(signal, rng, 6.0)[5] / signal[5]) for _ in range(200)]
    assert -6.0 <= min(ratios) < -5.0
    assert 5.0 < max(ratios) <= 6.0


def test_spans_of_time_alone_are_silenced() -> None:
    frames = np.ones((4, 64), np.float32)
    out = spec_augment(frames, np.random.default_rng(3), np.zeros((4, 1), np.float32), axes=(1,))
    assert set(map(tuple, out.T.tolist())) == {(1.0,) * 4, (0.0,) * 4}
