from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from parallel_ser.audio.frames import Delta, FrameFeatures, LogMel, Mfcc, intensity, loudness
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.errors import UserError

RATE = 16000
SPEECH = Path(__file__).parents[2] / "../shared/data/ravdess/Actor_01/03-01-05-02-01-01-01.flac"
ALL = ("logmel", "mfcc", "mfcc_delta", "mfcc_delta2", "pitch", "voicing", "loudness", "intensity")


def tone(hertz: float, amplitude: float = 1.0, seconds: float = 1.0, rate: int = RATE) -> Tensor:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return (amplitude * torch.sin(2.0 * math.pi * hertz * time)).float()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def librosa_logmel(
    signal: Tensor, rate: int, window: float, hop: float, n_mels: int, shape: str = "hann"
) -> np.ndarray:
    length = round(window * rate)
    power = librosa.feature.melspectrogram(
        y=signal.numpy().astype(np.float64),
        sr=rate,
        n_fft=2 ** math.ceil(math.log2(length)),
        hop_length=round(hop * rate),
        win_length=length,
        window={"rectangular": "boxcar"}.get(shape, shape),
        n_mels=n_mels,
        fmin=50.0,
        fmax=min(8000.0, rate / 2),
        pad_mode="constant",
    )
    return librosa.power_to_db(power, top_db=None)


@pytest.mark.parametrize("shape", ["hann", "hamming", "rectangular"])
@pytest.mark.parametrize(
    ("rate", "window", "hop", "n_mels"),
    [(16000, 0.025, 0.010, 64), (8000, 0.032, 0.016, 40), (44100, 0.0251, 0.010, 128)],
)
def test_logmel_equals_librosa(rate: int, window: float, hop: float, n_mels: int, shape: str) -> None:
    signal = tone(440.0, 0.3, rate=rate) + noise(rate)
    ours = LogMel(rate, window, hop, n_mels, window_shape=shape)(signal)  # type: ignore[arg-type]
    theirs = librosa_logmel(signal, rate, window, hop, n_mels, shape)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-3)  # dB
    np.testing.assert_allclose(10 ** (ours.numpy() / 10), 10 ** (theirs / 10), rtol=1e-4, atol=1e-8)


def test_mfcc_and_deltas_equal_librosa() -> None:
    logmel = LogMel(RATE)(noise(RATE))
    mfcc = Mfcc(20, 64)(logmel)
    np.testing.assert_allclose(mfcc.numpy(), librosa.feature.mfcc(S=logmel.numpy(), n_mfcc=20), atol=1e-3)

    def delta(x: np.ndarray) -> np.ndarray:
        return librosa.feature.delta(x, width=9, mode="nearest")

    np.testing.assert_allclose(Delta()(mfcc).numpy(), delta(mfcc.numpy()), atol=1e-4)
    np.testing.assert_allclose(Delta()(Delta()(mfcc)).numpy(), delta(delta(mfcc.numpy())), atol=1e-4)


def test_delta_of_a_line_is_its_slope() -> None:
    line = 3.0 * torch.arange(30.0).expand(2, 5, 30) + 1.0
    assert torch.allclose(Delta()(line)[..., 4:-4], torch.tensor(3.0))


@pytest.mark.parametrize(("amplitude", "expected"), [(1.0, -3.0103), (0.1, -23.0103), (1e-6, -100.0), (0.0, -100.0)])
def test_intensity_of_a_sine(amplitude: float, expected: float) -> None:
    level = intensity(tone(1000.0, amplitude), RATE, 0.025, 0.010)
    assert level.shape == (101,)
    assert torch.allclose(level[3:-3], torch.tensor(expected), atol=0.01)


def test_intensity_is_centred_on_its_frame() -> None:
    signal = torch.zeros(RATE)
    signal[50 * 160] = 1.0
    level = intensity(signal, RATE, 0.025, 0.010)
    assert level.argmax() == 50
    assert level[49].item() == pytest.approx(level[51].item(), abs=1e-3)


@pytest.mark.parametrize(  # the table of IEC 61672-1, at the exact frequencies behind its rounded ones
    ("hertz", "weight"), [(31.623, -39.4), (100.0, -19.1), (251.19, -8.6), (1000.0, 0.0), (2511.9, 1.3), (6309.6, -0.1)]
)
def test_loudness_has_the_a_weighting(hertz: float, weight: float) -> None:
    signal = tone(hertz, 0.5, seconds=1.1)
    difference = loudness(signal, RATE, 0.1, 0.010) - intensity(signal, RATE, 0.1, 0.010)
    assert difference[40:60].mean().item() == pytest.approx(weight, abs=0.1)


def test_names_and_rows() -> None:
    features = FrameFeatures(AudioSettings(), FeatureSettings(streams=ALL, n_mels=32, n_mfcc=13))
    rows = features(noise(RATE))
    assert rows.shape == (32 + 3 * 13 + 4, 101) == (len(features.names), 101)
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert features.names[31:34] == ["logmel31", "mfcc0", "mfcc1"]
    assert features.names[32 + 13] == "mfcc0.delta"
    assert features.names[32 + 26] == "mfcc0.delta2"
    assert features.names[-4:] == ["pitch", "voicing", "loudness", "intensity"]


def test_order_follows_the_settings_and_rows_match_their_streams() -> None:
    signal = tone(200.0, 0.3) + 0.01 * noise(RATE)
    rows = FrameFeatures(AudioSettings(), FeatureSettings(streams=("intensity", "pitch", "mfcc", "logmel")))(signal)
    logmel = librosa_logmel(signal, RATE, 0.025, 0.010, 64)
    np.testing.assert_allclose(rows[22:, 3:-3].numpy(), logmel[:, 3:-3], atol=0.05)
    np.testing.assert_allclose(rows[2:22, 3:-3].numpy(), librosa.feature.mfcc(S=logmel, n_mfcc=20)[:, 3:-3], atol=0.05)
    assert torch.allclose(rows[0, 3:-3], torch.tensor(20 * math.log10(0.3) - 3.0103), atol=0.05)
    assert torch.allclose(rows[1, 3:-3], torch.tensor(12.0), atol=0.05)  # an octave above 100 Hz


def test_tracks_replace_what_would_be_measured() -> None:
    features = FrameFeatures(AudioSettings(), FeatureSettings(streams=("intensity", "loudness")))
    track = torch.linspace(-60.0, 0.0, 101)
    rows = features(noise(RATE), {"intensity": track})
    assert torch.equal(rows[0], track)
    assert torch.equal(rows[1], loudness(noise(RATE), RATE, 0.025, 0.010))
    with pytest.raises(ValueError, match="'intensity' has 100 frames, but the signal 101"):
        features(noise(RATE), {"intensity": track[1:]})


def test_a_batch_is_its_signals_one_by_one() -> None:
    features = FrameFeatures(AudioSettings(), FeatureSettings(streams=ALL))
    batch = torch.stack([noise(8000, seed=1), tone(150.0, 0.2, 0.5), torch.zeros(8000), noise(8000, seed=2)])
    together = features(batch.reshape(2, 2, 8000)).reshape(4, len(features.names), 51)
    for signal, rows in zip(batch, together):
        assert torch.allclose(features(signal), rows, atol=1e-2)


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 399, 1000])
@pytest.mark.parametrize("make", [torch.zeros, torch.ones, noise])
def test_silent_and_very_short_signals_are_finite(samples: int, make) -> None:
    rows = FrameFeatures(AudioSettings(), FeatureSettings(streams=ALL))(make(samples))
    assert rows.shape[-1] == 1 + samples // 160
    assert rows.isfinite().all()


@pytest.mark.parametrize(
    "measure",
    [LogMel(RATE), lambda x: intensity(x, RATE, 0.025, 0.01), FrameFeatures(AudioSettings(), FeatureSettings())],
)
def test_no_samples_are_refused(measure) -> None:
    with pytest.raises(UserError, match="no samples"):
        measure(torch.zeros(0))


def test_settings_that_do_not_fit_are_refused_with_what_would_work() -> None:
    with pytest.raises(UserError, match=r"n_mels=256 .* use at most (\d+)") as refusal:
        LogMel(RATE, n_mels=256)
    most = int(refusal.value.args[0].split("at most ")[1].split(",")[0])
    assert LogMel(RATE, n_mels=most)(noise(RATE)).shape == (most, 101)
    with pytest.raises(UserError, match="f_min=5000"):
        LogMel(8000, f_min=5000.0)
    with pytest.raises(UserError, match="pitch_max=1500"):
        FrameFeatures(AudioSettings(sample_rate=8000), FeatureSettings(streams=("pitch",), pitch_max=1500.0))


@pytest.mark.skipif(not SPEECH.exists(), reason="no real speech in ../shared/data")
def test_real_speech_equals_librosa() -> None:
    samples, rate = librosa.load(SPEECH, sr=None)
    signal = torch.from_numpy(samples)
    streams = ("logmel", "mfcc", "mfcc_delta")
    rows = FrameFeatures(AudioSettings(sample_rate=int(rate)), FeatureSettings(streams=streams))(signal).numpy()
    logmel = librosa_logmel(signal, int(rate), 0.025, 0.010, 64)
    mfcc = librosa.feature.mfcc(S=logmel, n_mfcc=20)
    np.testing.assert_allclose(rows[:64], logmel, atol=0.01)
    np.testing.assert_allclose(rows[64:84], mfcc, atol=0.02)
    np.testing.assert_allclose(rows[84:], librosa.feature.delta(mfcc, width=9, mode="nearest"), atol=0.01)
