"""IEMOCAP on a tiny tree laid out as the release is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.corpora import iemocap
from parallel_ser.corpora.labels import apply
from parallel_ser.errors import UserError

LABELS = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes0{n}F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes0{n}F_impro01_F001\txxx\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes0{n}F_impro01_M000\texc\t[4.0000, 3.5000, 3.0000]
[19.2900 - 20.7875]\tSes0{n}F_impro01_M001\tfru\t[2.0000, 3.5000, 4.0000]
"""
SCRIPTED = "[1.0000 - 2.5000]\tSes0{n}M_script01_1b_M002\thap\t[4.5000, 2.0000, 2.0000]\n"
TRANSCRIPT = """Ses0{n}F_impro01_F000 [006.2901-008.2357]: Excuse me.
F: a line the release holds by mistake
Ses0{n}F_impro01_M000 [014.8872-018.0175]: Yeah.  What's wrong?
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    root = tmp_path / "IEMOCAP_full_release"
    for n in (1, 2):
        session = root / f"Session{n}"
        labels, transcripts = session / "dialog/EmoEvaluation", session / "dialog/transcriptions"
        (labels / "Categorical").mkdir(parents=True)
        transcripts.mkdir()
        (labels / f"Ses0{n}F_impro01.txt").write_text(LABELS.format(n=n))
        (labels / f"Ses0{n}M_script01_1b.txt").write_text(SCRIPTED.format(n=n))
        (labels / f"._Ses0{n}F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
        (labels / "Categorical" / f"Ses0{n}F_impro01_e2_cat.txt").write_text(f"Ses0{n}F_impro01_F000 :Anger; ()\n")
        (transcripts / f"Ses0{n}F_impro01.txt").write_text(TRANSCRIPT.format(n=n))
        for turn in ("F_impro01_F000", "F_impro01_F001", "F_impro01_M000", "F_impro01_M001", "M_script01_1b_M002"):
            wav = session / "sentences/wav" / f"Ses0{n}{turn.rpartition('_')[0]}" / f"Ses0{n}{turn}.wav"
            wav.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(wav, np.full(8, 0.1), 16000)
    return root


def test_turns_with_a_majority_label(release: Path) -> None:
    corpus = iemocap.read(release)
    assert corpus.problems == ()
    assert corpus.protocol == "session"
    assert corpus.notes == (
        "left out of iemocap: turns without a majority label (2)",
        "4 of the 10 speakers of iemocap are here: 3F, 3M, 4F, 4M, 5F, 5M are missing",
    )
    assert corpus.classes == ("neutral", "happy", "excited", "frustrated")
    told = [(u.path.stem, u.speaker, u.sex, u.emotion) for u in corpus.utterances[:4]]
    assert told == [
        ("Ses01F_impro01_F000", "iemocap-1F", "female", "neutral"),
        ("Ses01F_impro01_M000", "iemocap-1M", "male", "excited"),
        ("Ses01F_impro01_M001", "iemocap-1M", "male", "frustrated"),
        ("Ses01M_script01_1b_M002", "iemocap-1M", "male", "happy"),
    ]
    assert {utterance.speaker for utterance in corpus.utterances[4:]} == {"iemocap-2F", "iemocap-2M"}


def test_transcript_ratings_and_style(release: Path) -> None:
    turns = {utterance.path.stem: utterance for utterance in iemocap.read(release).utterances}
    turn = turns["Ses02F_impro01_M000"]
    assert turn.text == "Yeah.  What's wrong?"
    assert turn.duration == pytest.approx(18.0175 - 14.8872)
    assert dict(turn.fields) == {
        "session": "2", "dialog": "Ses02F_impro01", "style": "improvised",
        "valence": "4.0000", "arousal": "3.5000", "dominance": "3.0000",
    }  # fmt: skip
    assert turns["Ses01M_script01_1b_M002"].fields["style"] == "scripted"
    assert turns["Ses01F_impro01_M001"].text == ""


def test_four_classes_take_excited_as_happy(release: Path) -> None:
    four = apply(iemocap.read(release), "four")
    assert four.classes == ("neutral", "happy")
    assert [utterance.emotion for utterance in four.utterances[:3]] == ["neutral", "happy", "happy"]
    assert len(four.utterances) == 6  # frustrated has no place among the four


@pytest.mark.parametrize("start", ["..", "Session1"])
def test_from_the_folder_above_and_from_one_session(release: Path, start: str) -> None:
    assert len(iemocap.read((release / start).resolve()).utterances) == (8 if start == ".." else 4)


def test_missing_and_misplaced_recordings(release: Path) -> None:
    wavs = release / "Session1/sentences/wav"
    (wavs / "Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    moved = wavs / "Ses01M_script01_1b/Ses01F_impro01_M000.wav"
    (wavs / "Ses01F_impro01/Ses01F_impro01_M000.wav").rename(moved)
    (wavs / "Ses01F_impro01/test.wav").write_bytes(b"")
    corpus = iemocap.read(release)
    told = {(problem.kind, problem.path.name) for problem in corpus.problems}
    assert told == {
        ("missing", "Ses01F_impro01_F000.wav"),
        ("misplaced", "Ses01F_impro01_M000.wav"),
        ("unparsable name", "test.wav"),
    }
    assert len(corpus.utterances) == 7


def test_no_labels_or_no_recordings(release: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^iemocap: no labels found"):
        iemocap.read(tmp_path / "empty")
    for wav in release.rglob("*.wav"):
        wav.unlink()
    with pytest.raises(UserError, match=r"^iemocap: none of the labelled recordings"):
        iemocap.read(release)
