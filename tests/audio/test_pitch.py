from __future__ import annotations

import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from parallel_ser.audio.pitch import Pitch, semitones
from parallel_ser.errors import UserError

RATE = 16000
SPEECH = Path(__file__).parents[2] / "../shared/data/ravdess"


def phase(hertz: float | Tensor, seconds: float = 1.0, rate: int = RATE) -> Tensor:
    track = torch.as_tensor(hertz, dtype=torch.float64).expand(round(seconds * rate))
    return 2.0 * math.pi * track.cumsum(0) / rate


def harmonics(turns: Tensor, weights: list[float]) -> Tensor:
    """A tone of given phase whose harmonic k has weight k, at a peak of about 0.3."""
    signal = sum(weight * torch.sin((k + 1) * turns) for k, weight in enumerate(weights))
    return (0.3 * signal / signal.abs().max()).float()


def noise(samples: int, level: float = 0.1) -> Tensor:
    return level * torch.randn(samples, generator=torch.Generator().manual_seed(0))


def waves(shape: str, hertz: float, rate: int) -> Tensor:
    count = {"sine": 1}.get(shape, int(0.49 * rate / hertz))
    weights = [1.0 if shape == "pulses" else 1.0 / (k + 1) for k in range(count)]
    return harmonics(phase(hertz, rate=rate), weights)


@pytest.mark.parametrize("hertz", [65.0, 110.0, 123.4, 220.0, 313.0, 487.0])
@pytest.mark.parametrize("shape", ["sine", "sawtooth", "pulses"])
@pytest.mark.parametrize("rate", [8000, 16000, 24414, 44100])
def test_f0_of_periodic_waves_within_one_percent(shape: str, hertz: float, rate: int) -> None:
    f0, voicing = Pitch(rate, rate // 100)(waves(shape, hertz, rate))
    assert f0.shape == voicing.shape == (101,)
    assert ((f0[4:-4] / hertz - 1.0).abs() < 0.01).all()
    assert (voicing[4:-4] > 0.9).all()


@pytest.mark.parametrize("hertz", [75.0, 130.0, 210.0, 340.0])
@pytest.mark.parametrize("weights", [[1.0] * 10, [0.3, 1.0, 0.5, 0.2], [0.0, 1.0, 1.0, 1.0, 0.5], [1.0, 0.1, 0.8]])
def test_few_octave_errors_at_20_db(hertz: float, weights: list[float]) -> None:
    clean = harmonics(phase(hertz, 2.0), weights)
    f0, _ = Pitch(RATE, 160)(clean + noise(len(clean), 0.1 * float(clean.square().mean().sqrt())))
    wrong = (f0[3:-3] / hertz - 1.0).abs() > 0.2
    assert wrong.float().mean() < 0.02


def test_vibrato_is_followed_as_by_librosa_yin() -> None:
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    track = 200.0 * 2.0 ** (
        torch.sin(2.0 * math.pi * 5.0 * time) / 12.0
    )  # a semitone to each side, five times a second
    signal = harmonics(phase(track, 2.0), [1.0, 0.6, 0.4, 0.2])
    ours = Pitch(RATE, 160)(signal)[0][4:-4]
    assert torch.allclose(ours.double(), track[::160][4 : 4 + len(ours)], rtol=0.01)
    yin = librosa.yin(
        signal.numpy(), fmin=60, fmax=500, sr=RATE, frame_length=1024, hop_length=160, pad_mode="constant"
    )
    assert np.abs(yin[4:-4] / ours.numpy() - 1.0).max() < 0.02


@pytest.mark.parametrize(
    "signal",
    [torch.zeros(RATE), torch.full((RATE,), 0.5), noise(10 * RATE), noise(RATE, 1e-5), noise(RATE) + 0.3],
    ids=["silence", "offset", "noise", "faint noise", "noise with offset"],
)
def test_silence_and_noise_are_unvoiced(signal: Tensor) -> None:
    f0, voicing = Pitch(RATE, 160)(signal)
    assert (f0[3:-3] > 0.0).float().mean() < 0.01
    assert voicing[3:-3].mean() < 0.35


def test_gain_changes_nothing() -> None:
    signal = torch.cat([waves("sawtooth", 150.0, RATE), noise(RATE, 0.05)])
    f0, voicing = Pitch(RATE, 160)(signal)
    for gain in (1e-3, 0.5, 3.0):
        scaled_f0, scaled_voicing = Pitch(RATE, 160)(gain * signal)
        assert torch.allclose(scaled_f0, f0, rtol=1e-3)
        assert torch.allclose(scaled_voicing, voicing, atol=1e-3)


def test_voicing_switches_where_the_voice_does() -> None:
    tone = waves("sawtooth", 180.0, RATE)
    f0, _ = Pitch(RATE, 160)(torch.cat([torch.zeros(RATE), tone, torch.zeros(RATE)]))
    voiced = (f0 > 0.0).nonzero()[:, 0]
    assert abs(int(voiced[0]) - 100) <= 2
    assert abs(int(voiced[-1]) - 200) <= 2
    assert len(voiced) == int(voiced[-1] - voiced[0]) + 1


def test_long_recordings_and_batches_follow_the_track_in_every_block() -> None:
    time = torch.arange(25 * RATE, dtype=torch.float64) / RATE  # more than two blocks of frames
    track = 100.0 * 2.0 ** (time / 25.0)
    signal = harmonics(phase(track, 25.0), [1.0, 0.5, 0.3])
    f0, _ = Pitch(RATE, 160)(torch.stack([signal, signal.flip(0)]))
    assert f0.shape == (2, 2501)
    assert torch.allclose(f0[0, 4:-4].double(), track[::160][4 : 4 + 2493], rtol=0.01)
    assert torch.allclose(f0[1].flip(0)[4:-4], f0[0, 4:-4], rtol=0.01)


@pytest.mark.parametrize("samples", [1, 5, 160, 300])
def test_short_signals_are_finite(samples: int) -> None:
    for signal in (noise(samples), torch.zeros(samples)):
        f0, voicing = Pitch(RATE, 160)(signal)
        assert f0.shape == (1 + samples // 160,)
        assert f0.isfinite().all()
        assert ((voicing >= 0.0) & (voicing <= 1.0)).all()


def test_refusals() -> None:
    with pytest.raises(UserError, match="no samples"):
        Pitch(RATE, 160)(torch.zeros(0))
    with pytest.raises(UserError, match=r"pitch_max=3000 .* use at most 2000"):
        Pitch(RATE, 160, f_max=3000.0)


def test_semitones_fill_unvoiced_frames_by_lines() -> None:
    f0 = torch.tensor([[0.0, 200.0, 0.0, 0.0, 0.0, 400.0, 0.0], [0.0] * 7, [100.0, 0.0, 50.0, 50.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor(
        [[12.0, 12.0, 15.0, 18.0, 21.0, 24.0, 24.0], [0.0] * 7, [0.0, -6.0, -12.0, -12.0, -12.0, -12.0, -12.0]]
    )
    assert torch.allclose(semitones(f0), expected, atol=1e-4)


@pytest.mark.skipif(not SPEECH.exists(), reason="no real speech in ../shared/data")
@pytest.mark.parametrize("name", ["Actor_01/03-01-01-01-01-01-01.flac", "Actor_12/03-01-04-02-01-01-12.flac"])
def test_real_speech_agrees_with_librosa_pyin(name: str) -> None:
    samples, rate = librosa.load(SPEECH / name, sr=None)
    theirs, voiced, _ = librosa.pyin(
        samples, fmin=60, fmax=500, sr=rate, frame_length=1024, hop_length=160, pad_mode="constant"
    )
    ours = Pitch(int(rate), 160)(torch.from_numpy(samples))[0].numpy()
    both = voiced & (ours > 0.0)
    assert both.sum() > 0.6 * voiced.sum()
    semitone = 12.0 * np.abs(np.log2(ours[both] / theirs[both]))
    assert np.mean(semitone > 3.0) < 0.02
    assert np.median(semitone) < 0.3
