"""Copies of recordings: what is asked for is changed, by so much, and the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from parallel_ser.audio.altered import CUT, AlterationSettings, AlteredExtractor, Copy, altered
from parallel_ser.audio.cache import FeatureCache
from parallel_ser.audio.extract import Extractor, Features
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.config import load
from parallel_ser.corpora.base import Utterance
from parallel_ser.training.copies import with_all_copies
from parallel_ser.training.data import of_features

RATE = 16000


def sound(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """White noise, which has all frequencies."""
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def copy(settings: AlterationSettings, seed: int, signal: np.ndarray) -> np.ndarray:
    return altered(signal, RATE, np.random.default_rng(seed), settings)


def test_ends_are_cut_and_the_rest_stays_in_place() -> None:
    signal = sound()
    for seed in range(20):
        made = copy(AlterationSettings(), seed, signal)
        assert len(signal) - 2 * CUT * RATE <= len(made) <= len(signal)
        start = int(np.argmax([made[1000:3000] @ signal[1000 + at : 3000 + at] for at in range(int(CUT * RATE) + 1)]))
        assert np.corrcoef(made, signal[start : start + len(made)])[0, 1] > 0.97  # what lies below 100 Hz is little


def test_gain_noise_and_band_are_as_asked() -> None:
    signal = sound()
    power = np.mean(np.square(signal, dtype=np.float64))
    gains = [
        10 * np.log10(np.mean(copy(AlterationSettings(gain=6), seed, signal) ** 2.0) / power) for seed in range(60)
    ]
    assert -6.5 < min(gains) < -4 < 4 < max(gains) < 6.1
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    ratios = []
    for seed in range(40):
        made = copy(AlterationSettings(noise=10.0), seed, tone)[2000:-2000]
        _, density = welch(made, RATE, nperseg=1024)
        ratios.append(10 * np.log10(0.5 / (np.median(density) * RATE / 2)))  # of a sine: half its square
    assert 9 < min(ratios) < 16 < 32 < max(ratios) < 42
    lengths, pitches = [], []
    for seed in range(40):
        made = copy(AlterationSettings(speed=0.15), seed, tone)
        density = np.abs(np.fft.rfft(made * np.hanning(len(made))))
        lengths.append(len(made) / len(copy(AlterationSettings(), seed, tone)))
        pitches.append(float(np.argmax(density)) * RATE / len(made))
    assert 0.85 <= min(lengths) < 0.89 < 1.11 < max(lengths) <= 1.151
    np.testing.assert_allclose(pitches, 1000 / np.array(lengths), rtol=2e-3)  # longer is lower
    ends = []
    for seed in range(40):
        frequencies, density = welch(copy(AlterationSettings(band=2000.0), seed, signal), RATE, nperseg=512)
        ends.append(frequencies[density > 0.01 * np.median(density[5:30])].max())
    assert 1900 < min(ends) < 2600 < 6000 < max(ends) <= 8000


def test_a_copy_is_a_function_of_the_samples_and_its_number(tmp_path: Path) -> None:
    first, other = tmp_path / "a.wav", tmp_path / "b.flac"
    for path in (first, other):
        soundfile.write(path, (sound() * 32767).astype(np.int16), RATE)
    inner = Extractor(AudioSettings(), FeatureSettings(streams=("logmel",)))
    settings = AlterationSettings(noise=20.0)
    one, two = (AlteredExtractor(inner, settings, Copy(number)) for number in (0, 1))
    assert np.array_equal(one.file(first).frames, one.file(other).frames)
    assert not np.array_equal(one.file(first).frames[:, :50], two.file(first).frames[:, :50])
    assert len({inner.key, one.key, two.key, AlteredExtractor(inner, AlterationSettings(), Copy(0)).key}) == 4
    alike = AlteredExtractor(inner, settings, Copy(0, alike=True))
    expected = altered(sound().astype(np.float32), RATE, np.random.default_rng([0]), settings)
    np.testing.assert_allclose(next(alike.signals([sound().astype(np.float32)])).frames, inner(expected).frames)  # type: ignore[union-attr]
    assert alike.key != one.key


def test_training_gets_copies_and_a_silent_one_is_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for seed, path in enumerate(paths):
        soundfile.write(path, sound(seed=seed), RATE)
    settings = ["train.copies=2", "train.noise=15", "train.speed=0.1", "features.streams=[logmel]", "run.jobs=1"]
    config = load(None, [*settings, f"run.cache={tmp_path / 'cache'}"])
    alterations = []
    extractor = Extractor(config.audio, config.features)
    features = FeatureCache(config.run.cache, extractor).fill(paths)
    utterances = [Utterance(path, "toy", path.stem, "female", "anger") for path in paths]
    data = of_features(utterances, ("anger",), extractor, features)

    def copied(given: np.ndarray, rate: int, rng: np.random.Generator, settings: AlterationSettings) -> np.ndarray:
        alterations.append(settings)
        return (
            np.zeros_like(given) if given[0] == soundfile.read(paths[0], dtype="float32")[0][0] else given[::-1].copy()
        )

    monkeypatch.setattr("parallel_ser.audio.altered.altered", copied)
    made = with_all_copies(data, config)
    reverse = extractor(soundfile.read(paths[1], dtype="float32")[0][::-1].copy())
    assert isinstance(reverse, Features)
    for number in range(2):
        assert np.array_equal(made.copies[number].frames[0], data.frames[0])  # silent
        assert np.array_equal(made.copies[number].frames[1], reverse.frames)
    assert [len(one.frames) for one in made.take([1]).copies] == [1, 1]
    assert alterations == 4 * [AlterationSettings(noise=15.0, speed=0.1)]
