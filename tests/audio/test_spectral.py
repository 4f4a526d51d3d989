"""Spectral shape and voice quality against signals whose shape and voice are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from parallel_ser.audio.frames import FrameFeatures
from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.audio.spectral import QUALITY, SPECTRAL, Quality, Spectral

RATE, HOP, N_FFT = 16000, 160, 512
HERTZ = np.fft.rfftfreq(N_FFT, 1 / RATE)
GAMMA = 0.5772156649  # Euler's; bins of white noise have exponentially distributed power
BOTH = FeatureSettings(streams=("spectral", "quality"))


def tone(*harmonics: tuple[float, float], seconds: float = 0.5) -> Tensor:
    """Sum of sines, each of a frequency in Hz and an amplitude."""
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return sum((a * torch.sin(2 * math.pi * f * time) for f, a in harmonics), torch.zeros_like(time)).float()


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def shape(signal: Tensor) -> dict[str, Tensor]:
    """Spectral rows by name, without the frames at the ends."""
    features = FrameFeatures(AudioSettings(), FeatureSettings(streams=("spectral",)))
    return dict(zip(features.names, features(signal)[:, 3:-3]))


def shape_of_power(power: np.ndarray) -> dict[str, np.ndarray]:
    """Spectral rows by name of (bins, frames)."""
    return dict(zip(SPECTRAL, Spectral(RATE, N_FFT)(torch.from_numpy(power).float()).numpy()))


def quality(signal: Tensor, f0: Tensor | float, voicing: Tensor | float = 0.9) -> dict[str, Tensor]:
    """Quality rows by name, where pitch and voicing are given."""
    frames = torch.ones(1 + len(signal) // HOP)
    return dict(zip(QUALITY, Quality(RATE, HOP)(signal, f0 * frames, voicing * frames)))


@pytest.mark.parametrize("hertz", [500.0, 1000.0, 2718.0, 6000.0])
def test_the_power_of_a_sine_lies_at_its_frequency(hertz: float) -> None:
    rows = shape(tone((hertz, 0.5)))
    for name in ("centroid", "rolloff25", "rolloff50", "rolloff75", "rolloff90"):
        assert torch.allclose(rows[name], torch.tensor(hertz / 1000), atol=0.045), name
    assert rows["spread"].max() < 0.06
    assert rows["flux"].max() < 0.02


def test_two_sines_share_the_centroid_by_their_power() -> None:
    rows = shape(tone((1000.0, 0.5), (3000.0, 0.25)))
    assert torch.allclose(rows["centroid"], torch.tensor((4 * 1.0 + 1 * 3.0) / 5), atol=0.02)
    assert torch.allclose(rows["spread"], torch.tensor(math.sqrt(0.8 * 0.4**2 + 0.2 * 1.6**2)), atol=0.02)
    assert torch.allclose(rows["rolloff75"], torch.tensor(1.0), atol=0.05)
    assert torch.allclose(rows["rolloff90"], torch.tensor(3.0), atol=0.05)
    third = 0.8 * (-0.4) ** 3 + 0.2 * 1.6**3
    assert torch.allclose(rows["skewness"], torch.tensor(third / 0.8**3), atol=0.05)


def test_white_noise_is_as_flat_as_exponential_bins_are_and_a_sine_is_not() -> None:
    rows, sine = shape(noise(4 * RATE)), shape(tone((1000.0, 0.5)))
    assert float(rows["flatness"].mean()) == pytest.approx(-10 * GAMMA / math.log(10), abs=0.1)
    assert float(rows["entropy"].mean()) == pytest.approx(1 - (1 - GAMMA) / math.log(len(HERTZ)), abs=0.005)
    assert float(rows["centroid"].mean()) == pytest.approx(4.0, abs=0.05)
    assert float(rows["rolloff25"].mean()) == pytest.approx(2.0, abs=0.1)
    assert sine["flatness"].max() < -30
    assert sine["entropy"].max() < 0.35


@pytest.mark.parametrize(("low", "high"), [(-6.0, -12.0), (30.0, 2.0), (0.0, 0.0)])
def test_slopes_are_those_of_the_level(low: float, high: float) -> None:
    level = np.interp(HERTZ, [0, 500, 1500, 8000], np.cumsum([0, 0.5 * low, high, 0]))
    rows = shape_of_power(10 ** (level[:, None] / 10))
    assert rows["slope500"] == pytest.approx(low, abs=1e-3)
    # a bin at 500 Hz belongs to both bands
    assert rows["slope1500"] == pytest.approx(high, abs=1e-3)


def test_alpha_and_hammarberg_by_hand() -> None:
    power = np.random.default_rng(0).exponential(size=(len(HERTZ), 5))
    rows = shape_of_power(power)
    low, high = (HERTZ >= 50) & (HERTZ <= 1000), (HERTZ >= 1000) & (HERTZ <= 5000)
    alpha = 10 * np.log10(power[high].sum(axis=0) / power[low].sum(axis=0))
    below, above = HERTZ <= 2000, (HERTZ >= 2000) & (HERTZ <= 5000)
    hammarberg = 10 * np.log10(power[below].max(axis=0) / power[above].max(axis=0))
    np.testing.assert_allclose(rows["alpha"], alpha, atol=1e-3)
    np.testing.assert_allclose(rows["hammarberg"], hammarberg, atol=1e-3)


def test_flux_is_the_distance_of_the_shares_of_magnitude() -> None:
    power = np.zeros((len(HERTZ), 4))
    power[10, :2] = power[20, 2] = 1e8
    power[10, 3] = power[20, 3] = 1e8
    expected = [0.0, 0.0, math.sqrt(2), math.hypot(0.5, 0.5)]
    np.testing.assert_allclose(shape_of_power(power)["flux"], expected, atol=1e-4)


def test_jitter_is_the_relative_change_of_the_period() -> None:
    f0 = torch.tensor([200.0, 200.0, 210.0, 0.0, 210.0, 205.0, 60.0])
    rows = quality(tone((200.0, 0.3), seconds=6 * HOP / RATE), f0)

    def change(one: float, other: float) -> float:
        return abs(1 / one - 1 / other) / ((1 / one + 1 / other) / 2)

    expected = [0.0, 0.0, change(200, 210), 0.0, 0.0, change(210, 205), 0.25]  # the last is the tracker's jump
    np.testing.assert_allclose(rows["jitter"].numpy(), expected, atol=1e-6)


def test_jitter_of_a_steady_voice_is_none_and_of_a_trembling_one_what_it_trembles() -> None:
    steady, trembling = tone((150.0, 0.3)), torch.cat([tone((f, 0.3), seconds=0.1) for f in (150.0, 160.0) * 3])
    rows = []
    for signal in (steady, trembling):
        f0, voicing = Pitch(RATE, HOP)(signal)
        rows.append(Quality(RATE, HOP)(signal, f0, voicing)[QUALITY.index("jitter"), 5:-5])
    assert rows[0].max() < 1e-3
    steps = 5 * math.log(160 / 150)  # all changes of the period together, as the logarithm has them
    assert float(rows[1].sum()) == pytest.approx(steps, rel=0.15)


@pytest.mark.parametrize(("amplitude", "decibels"), [(0.25, 6.02), (0.45, 0.915), (1e-3, 12.0), (0.5, 0.0)])
def test_shimmer_is_the_step_of_the_amplitude(amplitude: float, decibels: float) -> None:
    signal = torch.cat([tone((200.0, 0.5)), tone((200.0, amplitude))])
    shimmer = quality(signal, 200.0)["shimmer"][3:-4]
    assert float(shimmer.max()) == pytest.approx(decibels, abs=0.02)
    assert int((shimmer > 0.05).sum()) <= (2 if amplitude > 0.01 else 4)


@pytest.mark.parametrize("decibels", [5.0, 10.0, 15.0])
def test_hnr_is_the_level_of_harmonics_over_noise(decibels: float) -> None:
    harmonic = tone(*((150.0 * k, 0.2) for k in range(1, 9)), seconds=3)
    spectrum = torch.fft.rfft(noise(len(harmonic)))
    spectrum[torch.fft.rfftfreq(len(harmonic), 1 / RATE) > 1250] = 0  # as wide as the harmonics: both are measured
    hiss = torch.fft.irfft(spectrum, len(harmonic))
    hiss *= harmonic.std() / hiss.std() * 10 ** (-decibels / 20)
    signal = harmonic + hiss
    f0, voicing = Pitch(RATE, HOP)(signal)
    hnr = Quality(RATE, HOP)(signal, f0, voicing)[QUALITY.index("hnr")]
    assert float(hnr[f0 > 0].median()) == pytest.approx(decibels, abs=1.5)
    ratio = 10 ** (decibels / 10)
    assert quality(signal, 150.0, ratio / (1 + ratio))["hnr"].numpy() == pytest.approx(decibels, abs=1e-3)


@pytest.mark.parametrize(("f0", "exact"), [(187.5, 0.1), (218.75, 0.1), (200.0, 1.5)])
def test_harmonics_have_the_levels_they_were_given(f0: float, exact: float) -> None:
    formant = 14 * f0  # between 2 and 4 kHz; the first two fundamentals lie on bins, the third between two
    rows = quality(tone((f0, 0.4), (2 * f0, 0.1), (formant, 0.02)), f0)
    inner = slice(5, -5)
    assert rows["h1h2"][inner].numpy() == pytest.approx(20 * math.log10(4), abs=exact)
    assert rows["h1a3"][inner].numpy() == pytest.approx(20 * math.log10(20), abs=exact)


def test_quality_of_unvoiced_frames_is_zero() -> None:
    signal = tone((200.0, 0.3))
    f0 = torch.where(torch.arange(51) < 25, 200.0, 0.0)
    rows = Quality(RATE, HOP)(signal, f0, torch.full((51,), 0.3))
    assert not rows[:, 25:].any()
    assert rows[QUALITY.index("hnr"), :25].all()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("samples", [1, 2, 159, 160, 1000])
@pytest.mark.parametrize("make", [torch.zeros, torch.ones, noise])
def test_silence_and_a_single_frame_are_finite(samples: int, make, rate: int) -> None:
    settings = FeatureSettings(streams=("spectral", "quality"), f_max=rate / 2)
    rows = FrameFeatures(AudioSettings(sample_rate=rate), settings)(make(samples))
    assert rows.shape == (len(SPECTRAL) + len(QUALITY), 1 + samples // round(0.01 * rate))
    assert rows.isfinite().all()


def test_rows_have_their_names_in_the_order_of_the_streams() -> None:
    signal = tone((150.0, 0.3), (300.0, 0.2), (2400.0, 0.05)) + 0.01 * noise(8000)
    alone = {
        name: row
        for stream in ("spectral", "quality", "pitch")
        for features in [FrameFeatures(AudioSettings(), FeatureSettings(streams=(stream,)))]  # type: ignore[arg-type]
        for name, row in zip(features.names, features(signal))
    }
    together = FrameFeatures(AudioSettings(), FeatureSettings(streams=("quality", "pitch", "spectral")))
    assert together.names == [*QUALITY, "pitch", *SPECTRAL]
    for name, row in zip(together.names, together(signal)):
        assert torch.equal(row, alone[name]), name


def test_a_batch_is_its_signals_one_by_one() -> None:
    features = FrameFeatures(AudioSettings(), BOTH)
    batch = torch.stack(
        [noise(4000, 1), tone((150.0, 0.2), (300.0, 0.1), seconds=0.25), torch.zeros(4000), noise(4000)]
    )
    together = features(batch.reshape(2, 2, 4000)).reshape(4, len(features.names), 26)
    for signal, rows in zip(batch, together):
        assert torch.allclose(features(signal), rows, atol=1e-2)
