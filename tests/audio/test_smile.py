"""openSMILE's sets: the package's own numbers, and what travels to other processes."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.audio import smile as smiling
from parallel_ser.audio import spread as spreading
from parallel_ser.audio.altered import Copy
from parallel_ser.audio.cache import FeatureCache
from parallel_ser.audio.extract import Extractor, Features
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.audio.smile import SmileExtractor, SmileSet
from parallel_ser.config import load
from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.training.data import of_features
from parallel_ser.training.sample import table

RATE = 16000
AS_IT_IS = AudioSettings(denoise="off", silence="off")


def write_voices(folder: Path, count: int) -> list[Path]:
    """Buzzes of half a second, each of its own pitch."""
    paths = []
    for index in range(count):
        time = np.arange(RATE // 2) / RATE
        phase = 2 * np.pi * (120 + 5 * index) * time
        signal = sum(0.3 / k * np.sin(k * phase) for k in range(1, 12)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
        signal += 0.01 * np.random.default_rng(index).standard_normal(len(time))
        paths.append(folder / f"{index:02}.wav")
        soundfile.write(paths[-1], 0.5 * signal, RATE, subtype="FLOAT")
    return paths


@pytest.fixture
def forgotten() -> Iterator[None]:
    """openSMILE's object made anew, before and after."""
    smiling._smile.cache_clear()
    yield
    smiling._smile.cache_clear()


@pytest.mark.parametrize(("which", "name", "count"), [("egemaps", "eGeMAPSv02", 88), ("compare", "ComParE_2016", 6373)])
def test_values_are_those_of_the_package(which: SmileSet, name: str, count: int, tmp_path: Path) -> None:
    opensmile = pytest.importorskip("opensmile")
    (path,) = write_voices(tmp_path, 1)
    smile = opensmile.Smile(opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals)
    expected = smile.process_signal(soundfile.read(path, dtype="float32")[0], RATE)
    extractor = SmileExtractor(AS_IT_IS, which)
    found = extractor.file(path)
    assert extractor.names == list(expected.columns)
    assert found.frames.shape == (count, 1)
    np.testing.assert_array_equal(found.frames[:, 0], np.nan_to_num(expected.to_numpy()[0].astype(np.float32)))
    assert found.measures == {"duration_s": 0.5}
    (of_signal,) = extractor.signals([soundfile.read(path, dtype="float32")[0]])
    assert isinstance(of_signal, Features)
    np.testing.assert_array_equal(of_signal.frames, found.frames)
    assert np.isfinite(found.frames).all()


def test_a_copys_values_are_those_of_the_altered_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opensmile")
    paths = write_voices(tmp_path, 2)
    signals = [soundfile.read(path, dtype="float32")[0] for path in paths]
    config = load(None, ["features.streams=[loudness]", f"run.cache={tmp_path / 'cache'}", "audio.silence=off"])
    utterances = tuple(Utterance(path, "toy", path.stem, "female", "anger") for path in paths)
    extractor = Extractor(config.audio, config.features)
    data = of_features(utterances, ("anger",), extractor, [extractor(signal) for signal in signals])

    def altered(signal: np.ndarray, *_: object) -> np.ndarray:
        return np.zeros_like(signal) if np.array_equal(signal, signals[0]) else signal[::-1].copy()

    monkeypatch.setattr("parallel_ser.audio.altered.altered", altered)
    values, names = table(replace(data, copy=Copy(0)), config, "egemaps")
    (backwards,) = SmileExtractor(config.audio, "egemaps").signals([signals[1][::-1].copy()])
    assert isinstance(backwards, Features)
    assert values.shape == (2, 88) == (2, len(names))
    np.testing.assert_array_equal(values[1], backwards.frames[:, 0])
    own, _ = table(data, config, "egemaps")
    np.testing.assert_array_equal(values[0], own[0])  # whose copy is silent
    assert not np.array_equal(values[1], own[1])


def test_silence_is_cut_and_settings_make_another_key(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    (path,) = write_voices(tmp_path, 1)
    padded = tmp_path / "padded.wav"
    signal = soundfile.read(path)[0]
    soundfile.write(padded, np.concatenate([np.zeros(RATE), signal, np.zeros(RATE)]), RATE, subtype="FLOAT")
    cutting, keeping = SmileExtractor(AudioSettings(denoise="off"), "egemaps"), SmileExtractor(AS_IT_IS, "egemaps")
    place = cutting.names.index("F0semitoneFrom27.5Hz_sma3nz_amean")
    assert cutting.file(padded).frames[place] == pytest.approx(keeping.file(path).frames[place], abs=0.1)
    assert keeping.file(padded).measures["duration_s"] == 2.5
    assert cutting.key != keeping.key != SmileExtractor(AS_IT_IS, "compare").key


def test_silence_has_finite_values(tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    path = tmp_path / "click.wav"
    soundfile.write(path, np.eye(1, RATE // 8)[0], RATE)
    assert np.isfinite(SmileExtractor(AS_IT_IS, "egemaps").file(path).frames).all()


def test_without_the_package_one_sentence_says_what_to_do(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(
        UserError, match=r"views=egemaps needs the package opensmile: pip install .* non-commercial"
    ) as one:
        SmileExtractor(AudioSettings(), "egemaps")
    assert len(str(one.value).splitlines()) == 1


def test_the_extractors_travel() -> None:
    pytest.importorskip("opensmile")
    smile, own = SmileExtractor(AS_IT_IS, "egemaps"), Extractor(AS_IT_IS, FeatureSettings(streams=("quality",)))
    for extractor in (smile, own):
        other = pickle.loads(pickle.dumps(extractor))
        assert (other.key, other.names) == (extractor.key, extractor.names)


def test_the_cache_keeps_what_workers_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opensmile")
    monkeypatch.setattr(spreading, "FEW", 0)  # workers for a few files, too
    monkeypatch.setattr(spreading, "CHUNK", 3)
    (tmp_path / "audio").mkdir()
    paths = write_voices(tmp_path / "audio", 6)
    streams = FeatureSettings(streams=("mfcc", "spectral", "quality"))
    for extractor in (SmileExtractor(AS_IT_IS, "egemaps"), Extractor(AS_IT_IS, streams)):
        found = FeatureCache(tmp_path / "cache", extractor).fill(paths, jobs=2)
        with monkeypatch.context() as patch:
            patch.setattr(type(extractor), "file", None)  # nothing is computed again
            again = FeatureCache(tmp_path / "cache", extractor).fill(paths)
        for path, one, other in zip(paths, found, again):
            alone = extractor.file(path)
            for features in (one, other):
                np.testing.assert_array_equal(features.frames, alone.frames)
                assert (features.measures, features.audio_id) == (alone.measures, alone.audio_id)
