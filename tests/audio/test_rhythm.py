from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.rhythm import RHYTHM, rhythm
from parallel_ser.errors import UserError

RATE = 16000
SPEECH = Path(__file__).parents[2] / "../shared/data/ravdess"


def measured(signal: Tensor, rate: int, hop: float = 0.010, **asked: float) -> dict[str, float]:
    """Rhythm with the pitch of frames ``hop`` seconds apart."""
    f0, _ = Pitch(rate, round(hop * rate))(signal)
    return rhythm(signal, rate, f0, hop=hop, **asked)


def times(seconds: float, rate: int = RATE) -> Tensor:
    return torch.arange(round(seconds * rate), dtype=torch.float64) / rate


def voice(time: Tensor) -> Tensor:
    return sum((torch.sin(2.0 * math.pi * 150.0 * k * time) / k for k in range(1, 8)), torch.zeros(1)) * 0.1


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("hertz", [2.5, 4.0, 6.0])
def test_a_modulated_voice_has_its_modulation_for_syllables(hertz: float, rate: int) -> None:
    time = times(4.0, rate)
    measures = measured((voice(time) * (1.0 - torch.cos(2.0 * math.pi * hertz * time)) / 2.0).float(), rate)
    assert measures["modulation_peak"] == pytest.approx(hertz, abs=0.1)
    assert measures["modulation_share"] > 0.95
    assert measures["speech_rate"] == pytest.approx(hertz, rel=0.05)
    assert measures["articulation_rate"] == measures["speech_rate"]
    assert measures["pause_ratio"] == 0.0


def test_modulated_noise_has_the_modulation_but_no_syllables() -> None:
    time = times(4.0)
    measures = measured(noise(len(time)) * (1.0 - torch.cos(2.0 * math.pi * 4.0 * time)).float() / 2.0, RATE)
    assert measures["modulation_peak"] == pytest.approx(4.0, abs=0.1)
    assert measures["modulation_share"] > 0.9
    assert measures["speech_rate"] == measures["voiced_run_mean"] == 0.0


@pytest.mark.parametrize(("modulation", "inside"), [(1.0, False), (4.0, True), (12.0, False)])
def test_share_of_syllabic_modulation(modulation: float, inside: bool) -> None:
    time = times(4.0)
    envelope = 1.0 - 0.8 * torch.cos(2.0 * math.pi * modulation * time)
    share = measured((voice(time) * envelope / 2.0).float(), RATE)["modulation_share"]
    assert share > 0.95 if inside else share < 0.1


def test_bursts_with_known_pauses() -> None:
    # Four bursts of 0.6 s with pauses of 0.4 s, 1 s of silence around them, which is no pause.
    time = times(3.6)
    speech = voice(time) * (time % 1.0 < 0.6)
    silence = torch.zeros(RATE)
    measures = measured(torch.cat([silence, speech, silence]).float(), RATE)
    assert measures["pause_ratio"] == pytest.approx(1.2 / 3.6, abs=0.03)
    assert measures["pause_rate"] == pytest.approx(3 / 3.6, rel=0.03)
    assert measures["pause_mean"] == pytest.approx(0.4, abs=0.04)
    assert measures["voiced_run_mean"] == pytest.approx(0.6, abs=0.04)
    assert measures["speech_rate"] == pytest.approx(4 / 3.6, rel=0.03)
    assert measures["articulation_rate"] == pytest.approx(4 / 2.4, rel=0.05)


def test_a_short_gap_is_no_pause() -> None:
    time = times(2.0)
    gap = (time > 0.9) & (time < 1.05)
    measures = measured((voice(time) * ~gap).float(), RATE)
    assert measures["pause_ratio"] == measures["pause_rate"] == measures["pause_mean"] == 0.0
    assert measured((voice(time) * ~gap).float(), RATE, min_pause=0.1)["pause_rate"] == pytest.approx(0.5, rel=0.03)


def test_a_constant_tone_has_one_syllable_and_no_modulation() -> None:
    measures = measured(voice(times(2.0)).float(), RATE)
    assert measures["speech_rate"] == pytest.approx(0.5, rel=0.02)
    assert measures["voiced_run_mean"] == pytest.approx(2.0, rel=0.02)
    assert measures["pause_ratio"] == measures["modulation_share"] == measures["modulation_peak"] == 0.0


def test_gain_changes_nothing() -> None:
    time = times(3.0)
    signal = (voice(time) * (1.0 - torch.cos(2.0 * math.pi * 3.0 * time))).float()
    loud, soft = measured(signal, RATE), measured(0.02 * signal, RATE)
    assert list(loud.values()) == pytest.approx(list(soft.values()), rel=1e-3)


@pytest.mark.parametrize("signal", [torch.zeros(RATE), torch.zeros(1), 1e-6 * noise(RATE)])
def test_silence_is_all_zeros(signal: Tensor) -> None:
    assert measured(signal, RATE) == dict.fromkeys(RHYTHM, 0.0)


@pytest.mark.parametrize("samples", [1, 2, 100, 400, 801, 5000])
def test_short_signals_are_finite(samples: int) -> None:
    for signal in (noise(samples), torch.ones(samples), torch.eye(1, samples)[0]):
        measures = measured(signal, RATE)
        assert tuple(measures) == RHYTHM
        assert all(type(value) is float and math.isfinite(value) for value in measures.values())


@pytest.mark.parametrize("hop", [0.005, 0.016, 0.020])
def test_pitch_of_other_frames_gives_the_same_rhythm(hop: float) -> None:
    time = times(3.6)
    signal = (voice(time) * (time % 1.0 < 0.6) * (1.0 - torch.cos(2.0 * math.pi * 5.0 * time))).float()
    assert list(measured(signal, RATE, hop).values()) == pytest.approx(list(measured(signal, RATE).values()), rel=0.06)


def test_no_samples_are_refused() -> None:
    with pytest.raises(UserError, match="no samples"):
        rhythm(torch.zeros(0), RATE, torch.zeros(1))


@pytest.mark.skipif(not SPEECH.exists(), reason="no real speech in ../shared/data")
def test_seven_syllables_in_a_sentence_of_ravdess() -> None:
    soundfile = pytest.importorskip("soundfile")
    counts = []
    for path in sorted(SPEECH.glob("Actor_0*/03-01-01-01-0*-01-*.flac")):  # both sentences have seven syllables
        samples, rate = soundfile.read(path, dtype="float32")
        measures = measured(torch.from_numpy(samples), rate)
        level = np.abs(samples)
        span = np.flatnonzero(level > 0.056 * np.quantile(level, 0.999))
        counts.append(measures["speech_rate"] * (span[-1] - span[0]) / rate)
    assert 5.5 < np.mean(counts) < 8.5
