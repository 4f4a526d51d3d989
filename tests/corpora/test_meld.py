"""MELD on a tiny tree laid out as the release is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.corpora import meld
from parallel_ser.corpora.registry import recognise
from parallel_ser.errors import UserError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
LINE = '{n},"Hey, you!",{speaker},{emotion},positive,{dialogue},{utterance},8,21,"00:16:16,059","00:16:21,731"\n'
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for split, speakers in {"train": "Rachel Joey", "dev": "Joey Woman", "test": "Rachel All"}.items():
        lines = [
            LINE.format(n=n, speaker=speaker, emotion=emotion, dialogue=0, utterance=n)
            for n, (speaker, emotion) in enumerate(zip(speakers.split(), ("joy", "anger")))
        ]
        (tmp_path / f"{split}_sent_emo.csv").write_text(HEADER + "".join(lines))
        (tmp_path / FOLDERS[split]).mkdir()
        for n in range(2):
            soundfile.write(tmp_path / FOLDERS[split] / f"dia0_utt{n}.wav", np.full(8, 0.1), 16000)
    return tmp_path


def test_lists_and_clips(release: Path) -> None:
    corpus = meld.read(release)
    assert corpus.problems == ()
    assert corpus.classes == ("joy", "anger")
    told = [
        (u.fields["split"], u.speaker, u.sex, u.emotion, u.path.relative_to(release).as_posix())
        for u in corpus.utterances
    ]
    assert told == [
        ("train", "meld-Rachel", "female", "joy", "train_splits/dia0_utt0.wav"),
        ("train", "meld-Joey", "male", "anger", "train_splits/dia0_utt1.wav"),
        ("dev", "meld-Joey", "male", "joy", "dev_splits_complete/dia0_utt0.wav"),
        ("dev", "meld-Woman", "unknown", "anger", "dev_splits_complete/dia0_utt1.wav"),
        ("test", "meld-Rachel", "female", "joy", "output_repeated_splits_test/dia0_utt0.wav"),
        ("test", "meld-All", "unknown", "anger", "output_repeated_splits_test/dia0_utt1.wav"),
    ]
    first = corpus.utterances[0]
    assert first.text == "Hey, you!"
    assert (first.fields["dialogue"], first.fields["season"], first.fields["sentiment"]) == ("train 0", "8", "positive")
    assert recognise(release, "--name").name == "meld"


def test_videos_are_read_where_no_sound_was_taken_out(release: Path) -> None:
    for path in release.rglob("*.wav"):
        path.rename(path.with_suffix(".mp4"))
    assert {one.path.suffix for one in meld.read(release).utterances} == {".mp4"}


def test_a_clip_that_is_not_there(release: Path) -> None:
    (release / "dev_splits_complete/dia0_utt1.wav").unlink()
    corpus = meld.read(release)
    assert len(corpus.utterances) == 5
    (problem,) = corpus.problems
    assert (problem.kind, problem.detail) == ("missing", "listed in dev_sent_emo.csv, but not here")


def test_no_list_and_a_list_that_is_none(release: Path) -> None:
    (release / "dev_sent_emo.csv").write_text("Utterance,Speaker\nHey,Joey\n")
    with pytest.raises(
        UserError, match=r"dev_sent_emo.csv line 1 lacks the columns Emotion, Dialogue_ID, Utterance_ID"
    ):
        meld.read(release)
    for path in release.glob("*.csv"):
        path.unlink()
    with pytest.raises(UserError, match=r"no train_sent_emo.csv in"):
        meld.read(release)
