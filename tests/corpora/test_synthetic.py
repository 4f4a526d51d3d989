from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from starting import LIMIT

from parallel_ser.corpora import voice
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.settings import SyntheticSettings
from parallel_ser.corpora.synthetic import habitual_voice, make, sentence
from parallel_ser.errors import UserError
from parallel_ser.system.files import cache_folder

SMALL = SyntheticSettings(speakers=2, sentences=1, takes=1)
PLAIN = voice.Voice(
    pitch=5.0, span=0.0, slope=0.0, final=0.0, tempo=0.0, level=-30.0, tension=0.0, breath=-60.0,
    roughness=0.0, tremor=0.0, articulation=1.0, tract=0.0,
)  # fmt: skip


def contents(corpus: Corpus) -> dict[str, bytes]:
    return {f"{u.path.parent.name}/{u.path.name}": u.path.read_bytes() for u in corpus.utterances}


def read(utterance: Utterance) -> np.ndarray:
    return soundfile.read(utterance.path)[0]


def pitch(signal: np.ndarray) -> float:
    """Median F0 in Hz over the loudest frames, where speech is voiced."""
    f0 = librosa.yin(signal, fmin=60, fmax=600, sr=voice.RATE)
    rms = librosa.feature.rms(y=signal)[0]
    return float(np.median(f0[rms > np.quantile(rms, 0.6)]))


def say(text: str, **changes: float) -> np.ndarray:
    return voice.say(text, PLAIN._replace(**changes), np.random.default_rng(1))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(cache: Path) -> Corpus:
    return make(SyntheticSettings(speakers=10, sentences=2, takes=2), cache)


# The renderer


@pytest.mark.parametrize("semitones", [0.0, 5.0, 14.0])
def test_a_monotone_voice_has_the_pitch_it_was_given(semitones: float) -> None:
    assert pitch(say("mamaloma", pitch=semitones)) == pytest.approx(100 * 2 ** (semitones / 12), rel=0.01)


@pytest.mark.parametrize(("vowel", "first", "second"), [("a", 730, 1090), ("e", 530, 1840), ("i", 270, 2290)])
def test_a_vowel_has_its_formants(vowel: str, first: float, second: float) -> None:
    speech = say(vowel * 6, pitch=0.0)
    middle = librosa.resample(speech[3000:-4000], orig_sr=voice.RATE, target_sr=10_000)
    roots = np.roots(librosa.lpc(librosa.effects.preemphasis(middle) * np.hamming(len(middle)), order=12))
    sharp = roots[(roots.imag > 0) & (np.abs(roots) > 0.9)]
    formants = np.sort(np.angle(sharp) * 10_000 / (2 * np.pi))
    for formant in (first, second):
        assert np.abs(formants / formant - 1).min() < 0.1, formants


def test_resonators_follow_the_difference_equation() -> None:
    from scipy.signal import freqz

    centre, bandwidth = 1000.0, 100.0
    radius = np.exp(-np.pi * bandwidth / voice.RATE)
    b, c = 2 * radius * np.cos(2 * np.pi * centre / voice.RATE), -(radius**2)
    frequencies = np.fft.rfftfreq(512, 1 / voice.RATE)
    expected = freqz([1 - b - c], [1, -b, -c], frequencies, fs=voice.RATE)[1]
    found = voice._resonance(np.array([centre]), np.array([bandwidth]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_lax_voice_falls_off_more_steeply_and_a_fast_one_is_shorter() -> None:
    def tilt(speech: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(speech)) ** 2
        hertz = np.fft.rfftfreq(len(speech), 1 / voice.RATE)
        return 10 * np.log10(power[hertz < 2000].sum() / power[hertz > 2000].sum())

    assert tilt(say("maloma", tension=-1.0)) > tilt(say("maloma", tension=1.0)) + 6
    assert len(say("maloma", tempo=1.0)) / len(say("maloma")) == pytest.approx(0.5, abs=0.05)


def test_jitter_and_breath_make_a_voice_less_periodic() -> None:
    def periodicity(speech: np.ndarray) -> float:
        vowel = speech[3000:-4000]
        lags = np.correlate(vowel, vowel, "full")[len(vowel) - 1 :] / np.dot(vowel, vowel)
        return float(lags[80:250].max())

    clean = periodicity(say("aaaaaa"))
    assert periodicity(say("aaaaaa", roughness=4.0)) < clean - 0.02
    assert periodicity(say("aaaaaa", breath=-5.0)) < clean - 0.02


@pytest.mark.parametrize("snr", [0.0, 10.0, 25.0])
def test_snr_and_level_are_what_was_asked(snr: float) -> None:
    speech = say("maloma")
    signal = voice.in_room(speech, -30.0, snr, (1.0, 1.0), np.random.default_rng(2))
    assert len(signal) == len(speech) + 2 * voice.RATE
    noise = np.concatenate([signal[: voice.RATE], signal[-voice.RATE :]])
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(-30.0 - snr, abs=1.0)
    voiced = np.mean(signal[voice.RATE : -voice.RATE] ** 2) - np.mean(noise**2)
    assert 10 * np.log10(voiced) == pytest.approx(-30.0, abs=1.0)


def test_a_loud_room_never_clips() -> None:
    assert np.abs(voice.in_room(say("mama"), 10.0, 20.0, (0.1, 0.1), np.random.default_rng(0))).max() < 0.971


# The corpus


def test_every_speaker_says_every_sentence_in_every_emotion(corpus: Corpus) -> None:
    cells = Counter((u.speaker, u.emotion, u.text, u.fields["take"]) for u in corpus.utterances)
    assert len(cells) == 10 * 7 * 2 * 2
    assert set(cells.values()) == {1}
    assert corpus.classes == ("joy", "anger", "sadness", "surprise", "fear", "disgust", "neutral")
    assert Counter(u.sex for u in corpus.utterances) == {"female": 140, "male": 140}
    assert len({(u.speaker, u.sex) for u in corpus.utterances}) == 10
    assert len({sentence(number) for number in range(20)}) == 20
    assert "synthetic-03" in {u.speaker for u in corpus.utterances}


def test_files_are_what_the_utterances_say(corpus: Corpus) -> None:
    for utterance in corpus.utterances[::7]:
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (16_000, 1, "PCM_16", "WAV")
        assert utterance.duration == info.frames / info.samplerate
    durations = [u.duration or 0.0 for u in corpus.utterances]
    assert min(durations) > 0.8
    assert max(durations) < 3.0
    peaks = [np.abs(read(u)).max() for u in corpus.utterances]
    assert min(peaks) > 0.01
    assert max(peaks) < 0.98
    snrs = np.array([float(u.fields["snr"]) for u in corpus.utterances])
    assert (snrs < 10).mean() > 0.05
    assert (snrs > 30).mean() > 0.1


def test_neutral_utterances_lie_near_the_speakers_pitch_and_women_speak_higher(corpus: Corpus) -> None:
    found: dict[str, list[float]] = {"female": [], "male": []}
    for number in range(10):
        own = [u for u in corpus.utterances if u.speaker == f"synthetic-{number:02d}" and u.emotion == "neutral"]
        hertz = float(np.median([pitch(read(u)) for u in own]))
        nominal = 100 * 2 ** (habitual_voice(0, number).pitch / 12)
        assert abs(12 * np.log2(hertz / nominal)) < 2.5
        found[own[0].sex].append(hertz)
    assert np.median(found["female"]) > 1.4 * np.median(found["male"])


def test_sadness_is_lower_slower_and_softer_than_joy(corpus: Corpus) -> None:
    def mean(emotion: str) -> np.ndarray:
        chosen = [u for u in corpus.utterances if u.emotion == emotion]
        values = [(np.log2(pitch(x)), -len(x), np.log(np.mean(x**2))) for x in map(read, chosen)]
        return np.mean(values, axis=0)

    assert (mean("joy") > mean("sadness")).all()


def log_mel_statistics(signal: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(y=signal, sr=voice.RATE, n_fft=512, hop_length=160, n_mels=40)
    mel = np.log(power + 1e-5)
    return np.concatenate([mel.mean(1), mel.std(1), np.percentile(mel, 90, axis=1), np.diff(mel).std(1)])


def artefacts(signal: np.ndarray) -> np.ndarray:
    """Length, noise floor, and silence before and after the speech, in 10 ms frames."""
    frames = signal[: len(signal) // 160 * 160].reshape(-1, 160)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    floor = np.percentile(level, 5)
    heard = np.flatnonzero(level > floor + 0.4 * (level.max() - floor))
    return np.array([len(signal), floor, heard[0], len(level) - heard[-1]])


def uar(corpus: Corpus, features: np.ndarray, by_speaker: bool = True) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    emotions = [u.emotion for u in corpus.utterances]
    speakers = [u.speaker for u in corpus.utterances]
    folds = GroupKFold(5) if by_speaker else StratifiedKFold(5, shuffle=True, random_state=0)
    system = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    groups = speakers if by_speaker else None
    return balanced_accuracy_score(emotions, cross_val_predict(system, features, emotions, groups=groups, cv=folds))


def test_emotions_can_be_learnt_but_not_perfectly_and_not_from_artefacts(corpus: Corpus) -> None:
    signals = [read(u) for u in corpus.utterances]
    spectral = np.stack([log_mel_statistics(signal) for signal in signals])
    unseen = uar(corpus, spectral)
    assert 0.4 < unseen < 0.97
    assert unseen < uar(corpus, spectral, by_speaker=False) < 0.97
    assert uar(corpus, np.stack([artefacts(signal) for signal in signals])) < 0.33
    assert uar(corpus, np.array([[np.log(np.mean(signal**2))] for signal in signals])) < 0.33


# Seeds and the cache


def test_bytes_depend_on_the_seed_alone(tmp_path: Path) -> None:
    alone = contents(make(SMALL, tmp_path / "one", jobs=1))
    assert alone == contents(make(SMALL, tmp_path / "two", jobs=2))
    other = contents(make(SMALL.model_copy(update={"seed": 1}), tmp_path / "one", jobs=1))
    assert alone.keys() == other.keys()
    assert all(alone[name] != other[name] for name in alone)


def test_growing_the_corpus_changes_no_utterance(cache: Path, corpus: Corpus) -> None:
    small, large = contents(make(SMALL, cache, jobs=1)), contents(corpus)
    assert len(small) == 14
    assert all(large[name] == data for name, data in small.items())


def test_a_whole_entry_is_not_rendered_again(tmp_path: Path) -> None:
    first = make(SMALL, tmp_path, jobs=1)
    before = {u.path: u.path.stat().st_mtime_ns for u in first.utterances}
    again = make(SMALL, tmp_path, jobs=1)
    assert again == first
    assert {u.path: u.path.stat().st_mtime_ns for u in again.utterances} == before


@pytest.mark.parametrize("damage", ["no index", "broken index", "foreign index", "missing file", "cut file"])
def test_a_half_written_entry_is_not_taken_for_whole(tmp_path: Path, damage: str) -> None:
    corpus = make(SMALL, tmp_path, jobs=1)
    whole = contents(corpus)
    index = corpus.utterances[0].path.parents[1] / "utterances.json"
    victim = corpus.utterances[3].path
    if damage == "no index":
        index.unlink()
        victim.unlink()
    elif damage == "broken index":
        index.write_text(index.read_text()[:100])
    elif damage == "foreign index":
        index.write_text("[1, 2]")
    elif damage == "missing file":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:1000])
    mended = make(SMALL, tmp_path, jobs=1)
    assert mended == corpus
    assert contents(mended) == whole


def test_two_processes_may_fill_the_cache_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from parallel_ser.corpora.settings import SyntheticSettings\n"
        "from parallel_ser.corpora.synthetic import make\n"
        "corpus = make(SyntheticSettings(speakers=2, sentences=1, takes=1), Path(sys.argv[1]), jobs=1)\n"
        "print(sum(len(u.path.read_bytes()) for u in corpus.utterances))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "shared")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [racer.communicate(timeout=LIMIT)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert answers[0] == answers[1]
    assert contents(make(SMALL, tmp_path / "shared", jobs=1)) == contents(make(SMALL, tmp_path / "own", jobs=1))
    assert not [path for path in (tmp_path / "shared").rglob("*") if path.suffix == ".part"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file"):
        make(SMALL, tmp_path / "file", jobs=1)


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARALLEL_SER_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("PARALLEL_SER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "parallel-ser"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "parallel-ser"
