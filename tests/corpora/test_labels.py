"""Emotion words, the label maps, and loading a corpus by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from parallel_ser.corpora import crema_d, emodb, iemocap, ravdess, tess
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.labels import FOUR, SEVEN, apply, canonical
from parallel_ser.corpora.registry import READERS, load
from parallel_ser.corpora.settings import CorpusName, CorpusSettings
from parallel_ser.errors import UserError


def corpus_of(*emotions: str, name: str = "some") -> Corpus:
    utterances = tuple(Utterance(Path(f"{e}.wav"), name, f"{name}-1", "unknown", e) for e in emotions)
    return Corpus(name, utterances, tuple(dict.fromkeys(emotions)))


@pytest.mark.parametrize(
    ("word", "spellings"),
    {
        "anger": ["Angry", "anger", "ANG", "Angray"],
        "surprise": ["ps", "pleasant_surprised", "Pleasant surprise", "surprised", "SUR"],
        "joy": ["happy", "HAP", "Happiness", "joy"],
        "fear": ["fearful", "FEA", "anxiety/fear", "Fear "],
        "sadness": ["sad", "SAD", "Sadness"],
        "disgust": ["DIS", "disgusted"],
        "neutral": ["NEU", "neutral"],
    }.items(),
)
def test_spellings(word: str, spellings: list[str]) -> None:
    assert {canonical(spelling) for spelling in spellings} == {word}


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (ravdess.CLASSES, ("neutral", "neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")),
        (tess.CLASSES, ("anger", "disgust", "fear", "joy", "surprise", "sadness", "neutral")),
        (emodb.CLASSES, ("anger", None, "disgust", "fear", "joy", "sadness", "neutral")),
        (crema_d.CLASSES, ("anger", "disgust", "fear", "joy", "neutral", "sadness")),
        (
            iemocap.CLASSES,
            ("neutral", "joy", "joy", "anger", "sadness", None, "fear", "surprise", "disgust", None),
        ),
    ],
    ids=["ravdess", "tess", "emodb", "crema_d", "iemocap"],
)
def test_seven(classes: tuple[str, ...], expected: tuple[str | None, ...]) -> None:
    mapped = apply(corpus_of(*classes), "seven")
    assert [utterance.emotion for utterance in mapped.utterances] == [word for word in expected if word]
    assert mapped.classes == tuple(word for word in SEVEN if word in expected)


def test_four_and_own() -> None:
    corpus = corpus_of(*iemocap.CLASSES)
    four = apply(corpus, "four")
    assert [u.emotion for u in four.utterances] == ["neutral", "happy", "happy", "angry", "sad"]
    assert four.classes == FOUR
    assert apply(corpus, "own") is corpus


def test_a_map_is_its_own_fixed_point() -> None:
    once = apply(corpus_of(*ravdess.CLASSES), "seven")
    assert apply(once, "seven") == once


def test_unknown_word_is_refused_not_dropped() -> None:
    with pytest.raises(UserError, match=r"'hapy' \(did you mean 'happy'\?\)"):
        apply(corpus_of("neutral", "hapy"), "seven")


def test_nothing_left() -> None:
    with pytest.raises(UserError, match="none of its emotions"):
        apply(corpus_of("boredom", "frustrated"), "seven")


def test_registry_serves_every_name_of_the_settings(tmp_path: Path) -> None:
    assert {*READERS, "synthetic"} == set(get_args(CorpusName))
    (tmp_path / "a.wav").write_bytes(b"x")
    table = tmp_path / "mine.csv"
    table.write_text("path,speaker,emotion\na.wav,1,calm\na.wav,2,bored\n")
    settings = CorpusSettings(name="manifest", root=table)
    assert [u.emotion for u in load(settings).utterances] == ["calm", "boredom"]
    seven = load(settings.model_copy(update={"labels": "seven"}))
    assert [u.emotion for u in seven.utterances] == ["neutral"]
