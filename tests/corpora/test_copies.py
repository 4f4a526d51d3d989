"""Altered copies are found, and two takes are two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parallel_ser.audio.fingerprint import fingerprint
from parallel_ser.corpora import synthetic
from parallel_ser.corpora.audit import audit
from parallel_ser.corpora.base import Utterance
from parallel_ser.corpora.content import audio_id, decode
from parallel_ser.corpora.copies import ALIKE, copy_ids
from parallel_ser.corpora.protocols import Fold
from parallel_ser.corpora.settings import SyntheticSettings

RATE = 16000


def takes() -> list[np.ndarray]:
    """The built-in corpus: speakers, emotions, sentences, and two takes of each."""
    corpus = synthetic.make(SyntheticSettings(speakers=2, sentences=2, takes=2), jobs=1)
    return [decode(one.path)[0][:, 0].astype(np.float64) for one in corpus.utterances]


def altered(signal: np.ndarray, how: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    match how:
        case "gain":
            return 0.05 * signal
        case "noise of 20 dB":
            return signal + 0.1 * signal.std() * rng.standard_normal(len(signal))
        case "8 bits":
            return np.round(signal / np.abs(signal).max() * 127) / 127
        case "inverted":
            return -signal
        case "offset":
            return signal + 0.01
        case "telephone":
            spectrum = np.fft.rfft(signal)
            spectrum[np.fft.rfftfreq(len(signal), 1 / RATE) > 3800] = 0
            return np.fft.irfft(spectrum, len(signal))
    raise AssertionError(how)


def ids(signals: list[np.ndarray]) -> list[str]:
    return copy_ids(
        [audio_id(one) for one in signals],
        [fingerprint(one, RATE).tobytes() for one in signals],
        [len(one) / RATE for one in signals],
    )


@pytest.mark.parametrize("how", ["gain", "noise of 20 dB", "8 bits", "inverted", "offset", "telephone"])
def test_an_altered_copy_has_the_identity_of_what_it_was_made_of(how: str) -> None:
    signals = takes()[::4]
    found = ids([*signals, *(altered(one, how) for one in signals)])
    assert found[: len(signals)] == [audio_id(one) for one in signals]
    same = [found[place] == found[place + len(signals)] for place in range(len(signals))]
    assert np.mean(same) >= 0.9, f"{sum(same)} of {len(same)}"


def test_two_takes_are_two_recordings() -> None:
    signals = takes()
    assert len(set(ids(signals))) == len(signals)


@pytest.mark.skipif(
    not (speech := Path(__file__).parents[3] / "shared/data/ravdess").is_dir(), reason="there is no real speech here"
)
def test_two_takes_of_a_person_are_two_and_the_known_pair_is_one() -> None:
    files = sorted(speech.glob("Actor_0[27]/*.flac"))
    found = ids([decode(one)[0][:, 0] for one in files])
    assert len(set(found)) == len(files) - 1


def test_the_audit_says_that_copies_are_on_both_sides() -> None:
    signals = takes()[:2]
    signals += [0.3 * signals[0], signals[1]]
    utterances = [Utterance(Path(f"{place}.wav"), "x", f"s{place}", "unknown", "joy") for place in range(4)]
    identities = [audio_id(one) for one in signals]
    fold = Fold(0, (0, 1), (), (2, 3))
    verdict = audit(utterances, fold, identities, ids(signals)).verdict()
    assert "1 of 2 recordings are shared" in verdict
    assert "ALTERED COPIES (GAIN, NOISE, CODING) OF 2 OF 2 RECORDINGS ARE ON BOTH SIDES" in verdict
    assert "ALTERED" not in audit(utterances, fold, identities).verdict()
    made = audit(utterances, fold, identities, ids(signals)).test.copies
    assert made.names[0].count(" = ") == 1


def test_what_has_no_fingerprint_is_known_by_its_audio_alone() -> None:
    assert copy_ids(["a", "", "a"], [b"", b"", b""], [1.0, 1.0, 1.0]) == ["a", "", "a"]
    assert not fingerprint(np.zeros(10), RATE).any()
    assert ALIKE < 1.0
