"""Whose speech a segment is."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from parallel_ser.analysis.listen import Heard
from parallel_ser.analysis.segments import Span
from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.analysis.speakers import MIXED, assigner, clustered
from parallel_ser.errors import UserError

RTTM = """SPEAKER call 1 0.0 4.0 <NA> <NA> anna <NA> <NA>
;; a comment
SPEAKER call 1 4.0 2.5 <NA> <NA> bert <NA> <NA>
"""


def heard(start: float, end: float) -> Heard:
    return Heard(Span(start, end, ((start, end),)), np.zeros(10, np.float32), np.zeros(10, np.float32))


@pytest.fixture
def rttm(tmp_path: Path) -> Path:
    path = tmp_path / "call.rttm"
    path.write_text(RTTM)
    return path


def test_turns_say_whose_a_segment_is(rttm: Path) -> None:
    told = assigner(AnalysisSettings(rttm=rttm, speaker="anna"), by_speaker=False)
    names = [told.name(heard(*one), 16000) for one in ((0.0, 3.0), (4.1, 6.0), (3.0, 5.0))]
    assert names == ["anna", "bert", MIXED]
    assert [told.own(one) for one in names] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "speaker", "sentence"),
    [
        (RTTM, "carl", r"no turn of 'carl': --speaker is one of anna, bert\."),
        ("SPEAKER call 1 x 2\n", "anna", "line 1: a turn is SPEAKER FILE"),
        ("SPEAKER call 1 nan 2 <NA> <NA> anna\n", "anna", "line 1"),
        ("nothing\n", "anna", "holds no turn"),
    ],
)
def test_what_is_wrong_with_turns_is_said(tmp_path: Path, text: str, speaker: str, sentence: str) -> None:
    path = tmp_path / "call.rttm"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        assigner(AnalysisSettings(rttm=path, speaker=speaker), by_speaker=False)


def test_settings_that_contradict_each_other_are_refused(rttm: Path) -> None:
    with pytest.raises(UserError, match="give one of the two"):
        assigner(AnalysisSettings(rttm=rttm, speakers=2, speaker="anna"), by_speaker=False)
    with pytest.raises(UserError, match="normalise=train"):
        assigner(AnalysisSettings(speakers=2), by_speaker=True)
    with pytest.raises(UserError, match="--speaker is a number from 1"):
        assigner(AnalysisSettings(speakers=2, speaker="3"), by_speaker=False)


def test_without_the_package_it_says_what_would_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parallel_ser.audio.encoder.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps Resemblyzer.*--rttm FILE"):
        assigner(AnalysisSettings(speakers=2), by_speaker=False)


def test_two_clouds_are_two_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8)[[0, 1] * 20]
    points = centres + 0.1 * rng.standard_normal((40, 8))
    labels = clustered(points / np.linalg.norm(points, axis=1, keepdims=True), 2)
    assert len(set(labels[::2])) == len(set(labels[1::2])) == 1
    assert labels[0] != labels[1]


@pytest.mark.skipif(find_spec("resemblyzer") is None, reason="Resemblyzer is not installed")
def test_the_encoder_tells_two_voices_apart() -> None:
    from parallel_ser.audio.encoder import RATE, SpeakerEncoder

    encoder = SpeakerEncoder()
    rng = np.random.default_rng(0)

    def vowel(hertz: float, formants: tuple[float, ...]) -> np.ndarray:
        time = np.arange(2 * RATE) / RATE
        moved = hertz * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
        phase = 2 * np.pi * np.cumsum(moved) / RATE
        heights = [sum(np.exp(-(((hertz * k - one) / 200) ** 2)) for one in formants) + 0.02 for k in range(1, 25)]
        return sum(one * np.sin(k * phase) for k, one in enumerate(heights, 1)).astype(np.float32) * 0.05

    low = [encoder(vowel(hertz, (500, 1500, 2500)), RATE) for hertz in (100.0, 105.0)]
    high = [encoder(vowel(hertz, (800, 1900, 3100)), RATE) for hertz in (230.0, 240.0)]
    assert np.linalg.norm(low[0]) == pytest.approx(1.0, abs=1e-5)
    assert low[0] @ low[1] > low[0] @ high[0]
    assert high[0] @ high[1] > low[1] @ high[1]
