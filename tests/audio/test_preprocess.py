from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_ser.audio.frames import window_function
from parallel_ser.audio.load import load
from parallel_ser.audio.preprocess import (
    cut,
    denoise,
    keep_mask,
    levels,
    normalise_level,
    original_frames,
    preprocess,
    speech_mask,
)
from parallel_ser.audio.quality import background, estimate_snr, frame
from parallel_ser.audio.settings import AudioSettings
from parallel_ser.errors import UserError

RATE, HOP = 16000, 160
RAVDESS = Path(__file__).parents[2] / "../shared/data/ravdess"
OFF = AudioSettings(denoise="off", silence="off", level="off")


def tone(seconds: float, amplitude: float = 0.5, hertz: float = 200.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def noise(samples: int, rms: float, seed: int = 0) -> np.ndarray:
    return (rms * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def speechlike(seconds: float = 4.0) -> np.ndarray:
    """Harmonics of 150 Hz in syllables of 0.2 s, four a second, half a second of silence around them."""
    time = np.arange(round(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 12))
    syllables = np.clip(np.sin(2 * np.pi * 4 * time) * 3, 0, 1)
    inside = (time > 0.5) & (time < seconds - 0.5)
    return (0.2 * voice * syllables * inside).astype(np.float32)


# Framing


@given(samples=st.integers(0, 300), window=st.integers(1, 50), hop=st.integers(1, 60))
def test_frames_are_the_slices_that_fit(samples: int, window: int, hop: int) -> None:
    signal = np.arange(samples)
    expected = [signal[start : start + window] for start in range(0, samples - window + 1, hop)]
    np.testing.assert_array_equal(frame(signal, window, hop), np.reshape(expected, (-1, window)))


def test_hann_windows_at_half_a_window_add_up_to_the_signal() -> None:
    signal = noise(4000, 1.0)
    windowed = frame(signal, 400, 200) * window_function("hann", 400).numpy()
    total = np.zeros_like(signal)
    for index, samples in enumerate(windowed):
        total[index * 200 : index * 200 + 400] += samples
    np.testing.assert_allclose(total[200:-200], signal[200:-200], atol=1e-5)


# Noise


@pytest.mark.parametrize("snr", [30.0, 20.0, 10.0, 5.0])
def test_snr_of_speech_with_known_noise(snr: float) -> None:
    clean = speechlike()
    power = np.square(clean[clean != 0]).mean()
    noisy = clean + noise(len(clean), float(np.sqrt(power * 10 ** (-snr / 10))))
    assert estimate_snr(noisy, RATE) == pytest.approx(snr, abs=2.5)


def test_snr_does_not_depend_on_gain_offset_or_digital_silence() -> None:
    noisy = speechlike() + noise(len(speechlike()), 0.01)
    known = estimate_snr(noisy, RATE)
    assert estimate_snr(0.03 * noisy, RATE) == pytest.approx(known, abs=0.01)
    assert estimate_snr(noisy + np.float32(0.1), RATE) == pytest.approx(known, abs=0.01)
    assert estimate_snr(np.concatenate([silence(2.0), noisy, silence(3.0)]), RATE) == pytest.approx(known, abs=0.5)


def test_snr_at_its_ends() -> None:
    assert estimate_snr(noise(32000, 0.1), RATE) < 0.0
    assert estimate_snr(silence(1.0), RATE) == -20.0
    assert np.isfinite(estimate_snr(tone(0.01), RATE))


def test_background_is_the_noise_between_the_speech() -> None:
    clean = speechlike()
    found = background(clean + noise(len(clean), 0.01), RATE)
    assert np.sqrt(np.square(found).mean()) == pytest.approx(0.01, rel=0.05)
    assert not len(background(silence(1.0), RATE))


def distortion(clean: np.ndarray, heard: np.ndarray) -> float:
    """Signal-to-distortion ratio in dB, scale-invariant (Le Roux et al. 2019, eq. 3)."""
    target = (clean @ heard) / (clean @ clean) * clean
    return 10 * np.log10(np.square(target).sum() / np.square(heard - target).sum())


def test_denoising_lifts_the_ratio_and_leaves_the_clean_alone() -> None:
    clean = speechlike()
    noisy = clean + noise(len(clean), 0.05)
    better = denoise(noisy, RATE)
    assert better.shape == noisy.shape
    assert better.dtype == np.float32
    assert distortion(clean, better) > distortion(clean, noisy) + 5
    assert distortion(clean, denoise(clean + noise(len(clean), 1e-4), RATE)) > 20
    np.testing.assert_array_equal(denoise(clean * 0, RATE), clean * 0)


@pytest.mark.parametrize("samples", [1, 200, 450, 1600])
def test_denoising_what_is_short(samples: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert denoise(noise(samples, 0.1), RATE).shape == (samples,)


@pytest.mark.parametrize(("mode", "rms", "denoised"), [("auto", 0.1, True), ("auto", 1e-3, False), ("on", 1e-3, True)])
def test_denoising_by_default_only_where_it_is_noisy(mode: str, rms: float, denoised: bool) -> None:
    noisy = speechlike() + noise(len(speechlike()), rms)
    result = preprocess(noisy, AudioSettings(denoise=mode, silence="off"), HOP)
    assert result.denoised is denoised
    assert (result.signal is noisy) is not denoised


def test_a_sustained_vowel_is_no_background() -> None:
    vowel = np.sum([tone(2.0, 0.2 / k, 150.0 * k) for k in range(1, 12)], axis=0) + noise(32000, 1e-3)
    assert not len(background(vowel, RATE))
    assert not preprocess(vowel, AudioSettings(), HOP).denoised


# Silence


def test_levels_of_a_tone_and_of_silence() -> None:
    level = levels(np.concatenate([tone(1.0), silence(1.0)]), RATE, HOP)
    assert level.shape == (201,)
    np.testing.assert_allclose(level[10:90], 10 * np.log10(0.5**2 / 2), atol=0.01)
    np.testing.assert_array_equal(level[110:], -120.0)


def test_speech_is_what_lies_less_than_the_threshold_under_the_loudest() -> None:
    signal = np.concatenate([tone(0.5), tone(0.5, 0.5 * 10 ** (-30 / 20)), tone(0.5, 0.5 * 10 ** (-40 / 20))])
    speech = speech_mask(levels(signal, RATE, HOP), below_db=35.0)
    assert speech[:97].all()
    assert not speech[105:].any()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("off", "xxxxxxxxxxxxxxxxxx"),
        ("edges", ".xxxxxxxxxxxxxxxx."),
        ("all", ".xxxxxxxxx....xxx."),
    ],
)
def test_what_stays_in_steps_of_50_ms(mode: str, expected: str) -> None:
    speech = np.array([letter == "S" for letter in "..SS....S......S.."])  # pauses of 0.2 and of 0.3 s
    keep = keep_mask(speech, mode, seconds=0.05)  # type: ignore[arg-type]
    # The pause of 0.3 s keeps 50 ms at either end.
    assert "".join("x" if kept else "." for kept in keep) == expected


def test_without_speech_all_stays() -> None:
    assert keep_mask(np.zeros(9, dtype=bool), "all", 0.01).all()


@pytest.mark.parametrize(("mode", "seconds"), [("off", 5.0), ("edges", 2.5), ("all", 1.5)])
def test_seconds_left_of_two_tones_with_a_pause(mode: str, seconds: float) -> None:
    signal = np.concatenate([silence(1.0), tone(0.7), silence(1.0), tone(0.8), silence(1.5)])
    result = preprocess(signal, AudioSettings(denoise="off", silence=mode), HOP)
    # Up to 75 ms stay on each of two or four edges: the margin, and half of the 50 ms over which a level is measured.
    edges = {"off": 0, "edges": 2, "all": 4}[mode]
    assert seconds <= len(result.signal) / RATE <= seconds + edges * 0.08
    assert np.square(result.signal).sum() == pytest.approx(np.square(signal).sum())


@given(
    samples=st.integers(1, 60).flatmap(lambda hop: st.tuples(st.just(hop), st.integers(1, 12 * hop))),
    chosen=st.sets(st.integers(0, 12), min_size=1),
)
def test_frames_are_found_again_in_the_original(samples: tuple[int, int], chosen: set[int]) -> None:
    hop, count = samples
    signal = np.arange(count)
    kept = np.array(sorted(chosen & set(range(1 + count // hop))), dtype=int)
    if not len(kept):
        return
    shorter = cut(signal, kept, hop)
    if not len(shorter):  # the last, empty step alone
        return
    frames = original_frames(kept, len(shorter), hop)
    assert len(frames) == 1 + len(shorter) // hop
    assert frames.max() <= count // hop
    centres = np.arange(len(frames)) * hop
    inside = centres < len(shorter)
    np.testing.assert_array_equal(shorter[centres[inside]], frames[inside] * hop)


def test_silence_is_kept_where_too_little_would_remain() -> None:
    signal = np.concatenate([silence(0.5), tone(0.02), silence(0.5)])
    result = preprocess(signal, AudioSettings(min_seconds=0.5), HOP)
    np.testing.assert_array_equal(result.signal, signal)
    np.testing.assert_array_equal(result.frames, np.arange(103))


# Level


@pytest.mark.parametrize("amplitude", [1e-4, 0.01, 0.9])
@pytest.mark.parametrize(
    ("mode", "measure"),
    [
        ("peak", lambda x: 20 * np.log10(np.abs(x).max())),
        ("rms", lambda x: 20 * np.log10(np.sqrt(np.square(x.astype(float)).mean()))),
        ("lufs", lambda x: pyloudnorm.Meter(RATE).integrated_loudness(x.astype(float))),
    ],
)
@pytest.mark.parametrize("target", [-23.0, -10.0])
def test_level_reaches_its_target(
    mode: str, measure: Callable[[np.ndarray], float], amplitude: float, target: float
) -> None:
    assert measure(normalise_level(tone(1.0, amplitude), RATE, mode, target)) == pytest.approx(target, abs=0.05)


@pytest.mark.parametrize("samples", [1, 2, 100, 6399, 6400])
def test_lufs_of_what_is_shorter_than_the_gate(samples: int) -> None:
    level = normalise_level(tone(1.0, hertz=1000.0)[1 : samples + 1], RATE, "lufs", -23.0)
    assert level.shape == (samples,)
    assert np.isfinite(level).all()
    if samples > 6000:  # a sine of 1 kHz has as many LUFS as dBFS of its RMS (ITU-R BS.1770-4, annex 1, note 1)
        assert 20 * np.log10(np.sqrt(np.square(level).mean())) == pytest.approx(-23.0, abs=0.7)


@pytest.mark.parametrize("mode", ["peak", "rms", "lufs"])
@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_level_never_clips_and_leaves_silence(mode: str, seconds: float) -> None:
    click = silence(seconds)
    click[800] = -0.1
    click += noise(len(click), 1e-4)
    assert np.abs(normalise_level(click, RATE, mode, 0.0)).max() <= 1.0
    np.testing.assert_array_equal(normalise_level(silence(seconds), RATE, mode, -23.0), silence(seconds))


# The whole


def test_every_step_off_changes_nothing() -> None:
    signal = noise(16000, 0.1)
    assert preprocess(signal, OFF, HOP).signal is signal


@pytest.mark.parametrize("gain", [0.01, 0.5])
def test_gain_changes_nothing_but_the_level(gain: float) -> None:
    signal = speechlike() + noise(len(speechlike()), 0.01)
    loud, quiet = (preprocess(x, AudioSettings(silence="all"), HOP) for x in (signal, np.float32(gain) * signal))
    np.testing.assert_array_equal(loud.frames, quiet.frames)
    np.testing.assert_allclose(quiet.signal, gain * loud.signal, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("settings", [OFF, AudioSettings(silence="all", denoise="on", level="lufs")])
@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (silence(1.0), r"^here\.wav is silent"),
        (silence(1.0) + np.float32(0.25), r"^here\.wav is silent"),
        (noise(16000, 2**-16), r"^here\.wav is silent"),
        (tone(0.05), r"^here\.wav lasts 0\.05 s, below audio\.min_seconds=0\.1;"),
        (silence(0.0), r"^here\.wav lasts 0 s, below"),
        (silence(600.0), r"^here\.wav lasts 600 s, above audio\.max_seconds=60: cut it into utterances, as ffmpeg"),
    ],
)
def test_refused_by_name(settings: AudioSettings, signal: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preprocess(signal, settings, HOP, "here.wav")


def test_pure_noise_survives_denoising() -> None:
    result = preprocess(noise(16000, 0.1), AudioSettings(denoise="on"), HOP)
    assert np.isfinite(result.signal).all()
    assert np.abs(result.signal).max() > 1e-4


@pytest.mark.skipif(not RAVDESS.is_dir(), reason="no RAVDESS in ../shared/data")
def test_clean_studio_speech_is_seen_as_clean_and_trimmed() -> None:
    for path in sorted(RAVDESS.glob("Actor_*/03-01-05-01-01-01-*.flac"))[:6]:
        signal = load(path, RATE)
        result = preprocess(signal, AudioSettings(), HOP, str(path))
        assert result.snr_db > 25
        assert not result.denoised
        # Recorded with about a second of silence on either side of a sentence of one to two seconds.
        assert 0.8 < len(result.signal) / RATE < len(signal) / RATE - 0.5
