from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from parallel_ser.audio.extract import Extractor
from parallel_ser.audio.preprocess import preprocess
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.corpora.content import audio_id
from parallel_ser.errors import UserError

RATE, HOP = 16000, 160
RAVDESS = Path(__file__).parents[2] / "../shared/data/ravdess"
OFF = AudioSettings(denoise="off", silence="off", level="off")
ALL = FeatureSettings(
    streams=("intensity", "logmel", "mfcc", "mfcc_delta", "mfcc_delta2", "pitch", "voicing", "loudness")
)


def speechlike(amplitude: float = 0.2) -> np.ndarray:
    """A second of silence, two buzzes of 0.5 s with 0.5 s between them, a second of silence; noise at -70 dB."""
    time = np.arange(round(3.5 * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 12))
    sounds = ((time >= 1.0) & (time < 1.5)) | ((time >= 2.0) & (time < 2.5))
    hiss = 3e-4 * np.random.default_rng(0).standard_normal(len(time))
    return (amplitude * (voice * sounds + hiss)).astype(np.float32)


def test_log_mel_of_the_signal_itself_is_librosas() -> None:
    signal = speechlike()
    expected = librosa.power_to_db(
        librosa.feature.melspectrogram(
            y=signal,
            sr=RATE,
            n_fft=512,
            win_length=400,
            hop_length=HOP,
            n_mels=64,
            fmin=50,
            fmax=8000,
            pad_mode="constant",
        ),
        top_db=None,
    )
    np.testing.assert_allclose(Extractor(OFF, FeatureSettings())(signal).frames, expected, atol=0.01)


def test_rows_are_named_and_in_the_order_of_the_streams() -> None:
    extractor = Extractor(OFF, ALL)
    frames = extractor(speechlike()).frames
    assert frames.shape == (len(extractor.names), 351)
    assert frames.dtype == np.float32
    assert np.isfinite(frames).all()
    assert (extractor.names[0], extractor.names[1], extractor.names[-1]) == ("intensity", "logmel0", "loudness")
    for stream in ALL.streams:
        alone = Extractor(OFF, FeatureSettings(streams=(stream,)))
        rows = [extractor.names.index(name) for name in alone.names]
        np.testing.assert_allclose(frames[rows], alone(speechlike()).frames, atol=1e-4)


@pytest.mark.parametrize("silence", ["edges", "all"])
@pytest.mark.parametrize("stream", ["intensity", "loudness"])
def test_intensity_is_that_of_the_original_at_the_frames_that_stay(silence: str, stream: str) -> None:
    features = FeatureSettings(streams=(stream,))
    whole = Extractor(OFF, features)(speechlike()).frames[0]
    changed = OFF.model_copy(update={"silence": silence, "level": "peak", "level_target": 0.0})
    kept = Extractor(changed, features)(speechlike()).frames[0]
    assert len(kept) < len(whole)
    start = int(np.flatnonzero(np.isclose(whole, kept[0], atol=1e-6))[0])
    assert 90 <= start <= 100  # the first buzz starts at 1 s
    first = 160 if silence == "edges" else 55
    np.testing.assert_array_equal(kept[:first], whole[start : start + first])
    np.testing.assert_array_equal(kept[-50:-10], whole[np.flatnonzero(whole == kept[-50])[-1] :][:40])


def test_voicing_is_that_of_the_original_also_where_silence_was_cut() -> None:
    time = np.arange(2 * RATE) / RATE
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 12))
    hum = 10.0 ** (-37.0 / 20.0)  # silent, which is 35 dB below the rest, but not unvoiced
    signal = (0.2 * voice * np.where((time >= 0.503) & (time < 1.497), 1.0, hum)).astype(np.float32)
    features, edges = FeatureSettings(streams=("voicing",)), OFF.model_copy(update={"silence": "edges"})
    whole, kept = (Extractor(settings, features)(signal).frames[0] for settings in (OFF, edges))
    places = preprocess(signal, edges, HOP).frames
    assert 0 < places[0] < places[-1] < len(whole) - 1
    assert kept[0] > 0.9
    np.testing.assert_array_equal(kept, whole[places])


def test_level_normalisation_takes_gain_from_the_features_and_leaves_it_in_the_intensity() -> None:
    settings = OFF.model_copy(update={"level": "rms"})
    loud, quiet = (
        Extractor(settings, FeatureSettings(streams=("logmel", "intensity")))(speechlike(amplitude))
        for amplitude in (0.2, 0.02)
    )
    np.testing.assert_allclose(loud.frames[:64], quiet.frames[:64], atol=0.05)
    voiced = slice(110, 140)
    np.testing.assert_allclose(loud.frames[64, voiced] - quiet.frames[64, voiced], 20.0, atol=0.01)
    assert loud.measures["intensity_db"] - quiet.measures["intensity_db"] == pytest.approx(20.0, abs=0.01)


def test_measures_of_the_utterance() -> None:
    measures = Extractor(AudioSettings(silence="all"), FeatureSettings())(speechlike()).measures
    assert measures["duration_s"] == 3.5
    assert measures["speech_s"] == pytest.approx(1.0, abs=0.12)
    assert measures["snr_db"] > 40
    assert measures["denoised"] == 0.0
    power = np.square(speechlike()[RATE : RATE * 3 // 2]).mean()
    assert measures["intensity_db"] == pytest.approx(10 * np.log10(power), abs=1.0)  # its edges count as well
    assert measures["loudness_db"] < measures["intensity_db"]
    assert measures["pause_ratio"] == pytest.approx(1 / 3, abs=0.05)
    assert all(isinstance(value, float) and np.isfinite(value) for value in measures.values())


def test_the_same_to_the_bit_whatever_the_threads_and_twice() -> None:
    extractor = Extractor(AudioSettings(denoise="on", level="lufs"), ALL)
    once = extractor(speechlike())
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = Extractor(extractor.audio, extractor.features)(speechlike())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(once.frames, again.frames)
    assert once.measures == again.measures


def test_the_signal_is_not_changed() -> None:
    signal = speechlike()
    signal.flags.writeable = False
    Extractor(AudioSettings(denoise="on", silence="all", level="peak"), ALL)(signal)
    np.testing.assert_array_equal(signal, speechlike())


def test_a_file_at_another_rate_and_in_stereo_is_the_same_utterance(tmp_path: Path) -> None:
    extractor = Extractor(AudioSettings(), FeatureSettings(f_max=7000.0))
    soundfile.write(tmp_path / "mono.flac", speechlike(), RATE)
    high = librosa.resample(speechlike(), orig_sr=RATE, target_sr=48000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([high, high], axis=1), 48000)
    low, stereo = extractor.file(tmp_path / "mono.flac"), extractor.file(tmp_path / "stereo.wav")
    assert low.frames.shape == stereo.frames.shape
    voiced = low.frames > -60
    assert np.abs(low.frames - stereo.frames)[voiced].mean() < 0.2
    assert low.audio_id == audio_id(soundfile.read(tmp_path / "mono.flac", dtype="float32")[0])


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_other_rates(rate: int) -> None:
    time = np.arange(rate) / rate
    audio = AudioSettings(sample_rate=rate, denoise="on")
    extractor = Extractor(audio, ALL.model_copy(update={"f_max": 4000.0, "n_mels": 40}))
    tone = extractor((0.5 * np.sin(2 * np.pi * 200 * time)).astype(np.float32))
    assert tone.frames.shape == (len(extractor.names), 101)
    pitch = tone.frames[extractor.names.index("pitch"), 20:80]
    np.testing.assert_allclose(pitch, 12.0, atol=0.2)  # semitones re 100 Hz


def test_key_follows_every_setting() -> None:
    changed = [
        (AudioSettings(), FeatureSettings()),
        (AudioSettings(denoise="off"), FeatureSettings()),
        (AudioSettings(max_seconds=61.0), FeatureSettings()),
        (AudioSettings(), FeatureSettings(hop=0.0125)),
        (AudioSettings(), FeatureSettings(streams=("logmel", "pitch"))),
        (AudioSettings(), FeatureSettings(streams=("pitch", "logmel"))),
    ]
    assert len({Extractor(*settings).key for settings in changed}) == len(changed)
    assert Extractor(*changed[0]).key == Extractor(AudioSettings(), FeatureSettings()).key


def test_frequencies_beyond_the_sample_rate_are_refused() -> None:
    with pytest.raises(UserError, match=r"features\.f_max=8000 Hz .*audio\.sample_rate=8000; use features\.f_max=4000"):
        Extractor(AudioSettings(sample_rate=8000), FeatureSettings())


@pytest.mark.parametrize(
    ("seconds", "amplitude", "message"),
    [
        (0.05, 0.5, r"odd\.wav lasts 0\.05 s, below audio\.min_seconds=0\.1"),
        (600.0, 0.5, r"odd\.wav lasts 600 s, above audio\.max_seconds=60: cut it into utterances, as ffmpeg -i .*odd"),
        (1.0, 0.0, r"odd\.wav is silent"),
        (1.0, np.nan, r"odd\.wav holds samples that are NaN"),
    ],
)
def test_a_file_that_is_refused_is_named(tmp_path: Path, seconds: float, amplitude: float, message: str) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.full(round(seconds * 8000), amplitude, np.float32), 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=message) as caught:
        Extractor(AudioSettings(), FeatureSettings()).file(path)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.skipif(not RAVDESS.is_dir(), reason="no RAVDESS in ../shared/data")
def test_real_speech_has_plausible_measures() -> None:
    extractor = Extractor(AudioSettings(), ALL)
    for path in sorted(RAVDESS.glob("Actor_0[1-3]/03-01-05-01-01-01-*.flac")):
        features = extractor.file(path)
        assert np.isfinite(features.frames).all()
        assert 1.0 < features.measures["speech_s"] < 3.0
        assert features.measures["denoised"] == 0.0
        assert 2.0 < features.measures["speech_rate"] < 9.0  # 'Kids are talking by the door', seven syllables


def test_many_files_are_what_each_is_to_the_bit_and_a_bad_one_is_told_in_its_place(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(20)]  # more than go together
    for number, path in enumerate(paths):
        soundfile.write(path, speechlike()[: RATE + 1000 * number + RATE // 2], RATE)
    paths[3].write_bytes(b"no audio")
    soundfile.write(paths[18], np.zeros(RATE), RATE)
    extractor = Extractor(AudioSettings(), FeatureSettings(streams=(*ALL.streams, "spectral", "quality")))
    for number, (path, made) in enumerate(zip(paths, extractor.files(paths), strict=True)):
        if number in (3, 18):
            with pytest.raises(UserError) as raised:
                extractor.file(path)
            assert str(made) == str(raised.value)
            continue
        expected = extractor.file(path)
        assert not isinstance(made, UserError)
        np.testing.assert_array_equal(made.frames, expected.frames)
        assert (made.measures, made.audio_id) == (expected.measures, expected.audio_id)
