"""Emotion words, the label maps, and loading a corpus by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from parallel_ser.corpora import crema_d, emodb, iemocap, ravdess, synthetic, tess
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.labels import FOUR, SEVEN, align, apply, canonical
from parallel_ser.corpora.registry import READERS, load, load_pair
from parallel_ser.corpora.settings import CorpusName, CorpusSettings, ProtocolName
from parallel_ser.errors import UserError


def corpus_of(*emotions: str, name: str = "some") -> Corpus:
    utterances = tuple(Utterance(Path(f"{e}.wav"), name, f"{name}-1", "unknown", e) for e in emotions)
    return Corpus(name, utterances, tuple(dict.fromkeys(emotions)))


def manifest_of(folder: Path, *emotions: str) -> Path:
    folder.mkdir(exist_ok=True)
    for emotion in emotions:
        (folder / f"{emotion}.wav").write_bytes(b"x")
    table = folder / "mine.csv"
    table.write_text("path,speaker,emotion\n" + "".join(f"{emotion}.wav,1,{emotion}\n" for emotion in emotions))
    return table


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
    with pytest.raises(UserError, match=r"'hapy' \(did you mean happy\?\)"):
        apply(corpus_of("neutral", "hapy"), "seven")


def test_nothing_left() -> None:
    with pytest.raises(UserError, match="none of its emotions"):
        apply(corpus_of("boredom", "frustrated"), "seven")


def test_registry_serves_every_name_of_the_settings(tmp_path: Path) -> None:
    assert {*READERS, "synthetic"} == set(get_args(CorpusName))
    settings = CorpusSettings(name="manifest", root=manifest_of(tmp_path, "calm", "bored"))
    assert [u.emotion for u in load(settings).utterances] == ["calm", "boredom"]
    seven = load(settings.model_copy(update={"labels": "seven"}))
    assert [u.emotion for u in seven.utterances] == ["neutral"]


def test_the_docs_have_a_row_for_each_corpus_and_each_protocol() -> None:
    text = (Path(__file__).parents[2] / "docs/corpora.md").read_text("utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    for name in {*get_args(CorpusName), *get_args(ProtocolName)} - {"auto"}:
        assert any(f"`{name}`" in row for row in rows), name


@pytest.mark.parametrize(
    ("tested", "trained", "expected"),
    [
        (tess.CLASSES, ravdess.CLASSES, "angry disgust fearful happy surprised sad neutral"),
        (ravdess.CLASSES, tess.CLASSES, "neutral neutral happy sad angry fear disgust pleasant_surprise"),
        (synthetic.CLASSES, ravdess.CLASSES, "happy angry sad surprised fearful disgust neutral"),
        (ravdess.CLASSES, synthetic.CLASSES, "neutral neutral joy sadness anger fear disgust surprise"),
        (synthetic.CLASSES, tess.CLASSES, "happy angry sad pleasant_surprise fear disgust neutral"),
        (tess.CLASSES, SEVEN, "anger disgust fear joy surprise sadness neutral"),
        (iemocap.CLASSES, FOUR, "neutral happy happy angry sad frustrated fearful surprised disgust other"),
        (emodb.CLASSES, iemocap.CLASSES, "angry boredom disgust fearful happy sad neutral"),
        # the plain one of two that are near, in either order; then whichever is near
        (("neutral", "joy"), ("calm", "neutral", "excited", "happy"), "neutral happy"),
        (("neutral", "excited"), ("calm", "sad"), "calm excited"),
        (("wistful", "bored"), ("sad", "wistful"), "wistful bored"),
    ],
)
def test_emotions_meet_between_corpora(tested: tuple[str, ...], trained: tuple[str, ...], expected: str) -> None:
    aligned = align(corpus_of(*tested), trained)
    assert [one.emotion for one in aligned.utterances] == expected.split()
    assert set(aligned.classes) == set(expected.split())
    known = [name for name in trained if name in expected.split()]
    assert list(aligned.classes[: len(known)]) == known  # in the order of training, then what has no counterpart


def test_a_corpus_keeps_its_own_names_for_itself() -> None:
    for classes in (ravdess.CLASSES, tess.CLASSES, iemocap.CLASSES, synthetic.CLASSES):
        assert align(corpus_of(*classes), classes) == corpus_of(*classes)


def test_a_pair_is_loaded_under_the_names_of_the_first(tmp_path: Path) -> None:
    one = CorpusSettings(name="manifest", root=manifest_of(tmp_path / "one", "happy", "calm"), labels="seven")
    other = CorpusSettings(name="manifest", root=manifest_of(tmp_path / "other", "excited", "neutral", "bored"))
    learnt, tested = load_pair(one, other, 1)
    assert learnt == load(one)
    assert tested is not None
    assert [u.emotion for u in tested.utterances] == ["joy", "neutral", "boredom"]
    assert load_pair(one, None) == (learnt, None)
