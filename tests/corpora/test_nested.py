"""Folds inside a training side."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parallel_ser.corpora.base import Sex, Utterance
from parallel_ser.corpora.nested import inner_folds
from parallel_ser.corpora.protocols import Fold
from parallel_ser.errors import UserError

EMOTIONS = ("joy", "anger", "sadness")


def utterance(place: int, speaker: str, emotion: str, text: str = "", sex: Sex = "female") -> Utterance:
    return Utterance(Path(f"{place}.wav"), "made", speaker, sex, emotion, text)


def corpus(speakers: int, texts: int = 2, takes: int = 1) -> list[Utterance]:
    """Every speaker with every emotion, every text and every take; without texts they are unknown."""
    cells = [(s, e, t) for s in range(speakers) for e in EMOTIONS for t in range(max(texts, 1)) for _ in range(takes)]
    return [
        utterance(place, f"s{s}", e, f"t{t}" if texts else "", "female" if s % 2 else "male")
        for place, (s, e, t) in enumerate(cells)
    ]


def check(folds: list[Fold], training: list[int]) -> None:
    """Every training utterance is held out exactly once, and never where it is learned from."""
    assert sorted(place for fold in folds for place in fold.test) == list(range(len(training)))
    for fold in folds:
        assert not set(fold.test) & set(fold.train + fold.select)


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[Utterance], list[int]]:
    """Utterances of which some train: unequally many a speaker, all emotions with every other one."""
    places = st.tuples(st.integers(0, 5), st.sampled_from(EMOTIONS), st.integers(0, 3))
    cells = draw(st.lists(places, min_size=6, max_size=60))
    utterances = [utterance(n, f"s{s}", e, f"t{t}", "female" if s % 2 else "male") for n, (s, e, t) in enumerate(cells)]
    training = draw(st.lists(st.integers(0, len(cells) - 1), min_size=4, unique=True))
    return utterances, training


@given(sides(), st.sampled_from(["speaker", "emobox6", "cross-corpus", "text", "random"]), st.integers(2, 6))
def test_no_speaker_crosses_and_every_utterance_is_held_out_once(
    side: tuple[list[Utterance], list[int]], protocol: str, count: int
) -> None:
    utterances, training = side
    try:
        folds = inner_folds(utterances, training, protocol, count, 0)
    except UserError:
        return  # a class of one utterance cannot be both learned and held out
    check(folds, training)
    ways = {fold.protocol for fold in folds}
    assert len(ways) == 1
    inside = [utterances[place] for place in training]
    unit = {"speaker": lambda one: one.speaker, "text": lambda one: one.text}.get(ways.pop(), lambda one: one.path)
    for fold in folds:
        held, learned = ({unit(inside[place]) for place in places} for places in (fold.test, fold.train + fold.select))
        assert not held & learned
        assert {inside[place].emotion for place in fold.train} == {one.emotion for one in inside}


@given(st.integers(2, 6), st.integers(2, 8), st.integers(0, 3))
def test_speakers_that_all_have_every_class_are_always_held_out_whole(speakers: int, count: int, seed: int) -> None:
    utterances = corpus(speakers + 1)
    training = [place for place, one in enumerate(utterances) if one.speaker != "s0"]
    folds = inner_folds(utterances, training, "speaker", count, seed)
    assume(folds)
    check(folds, training)
    assert {fold.protocol for fold in folds} == {"speaker"}
    assert len(folds) == min(count, speakers)
    for fold in folds:
        held = {utterances[training[place]].speaker for place in fold.test}
        learned = {utterances[training[place]].speaker for place in fold.train + fold.select}
        assert held | learned == {f"s{number}" for number in range(1, speakers + 1)}
        assert not held & learned


@pytest.mark.parametrize(
    ("given", "protocol", "way"),
    [
        (corpus(1, texts=3), "speaker", "text"),  # one speaker: by text
        (corpus(1, texts=1, takes=4), "speaker", "random"),  # and one text
        (corpus(1, texts=0, takes=4), "speaker", "random"),  # texts unknown
        (corpus(3, texts=0), "text", "speaker"),
        (corpus(3, texts=1), "text", "speaker"),
        (corpus(3), "text", "text"),
        (corpus(3, texts=0), "speaker+text", "speaker"),
        (corpus(1, texts=3), "speaker+text", "text"),
        (corpus(3), "luna5", "speaker"),
        (corpus(3), "random", "random"),
    ],
)
def test_where_a_unit_cannot_be_held_out_the_next_is(given: list[Utterance], protocol: str, way: str) -> None:
    training = list(range(len(given)))
    folds = inner_folds(given, training, protocol, 3, 0)
    assert {fold.protocol for fold in folds} == {way}
    check(folds, training)


def test_a_class_that_one_speaker_has_alone_is_held_out_in_another_way() -> None:
    utterances = [one for one in corpus(3, takes=3) if one.emotion != "anger" or one.speaker == "s1"]
    folds = inner_folds(utterances, range(len(utterances)), "speaker", 3, 0)
    assert {fold.protocol for fold in folds} == {"text"}


def test_speaker_and_text_hold_out_pairs_of_both() -> None:
    utterances = corpus(4, texts=3)
    folds = inner_folds(utterances, range(len(utterances)), "speaker+text", 2, 0)
    check(folds, list(range(len(utterances))))
    assert len(folds) == 4
    for fold in folds:
        for unit in ("speaker", "text"):
            held = {getattr(utterances[place], unit) for place in fold.test}
            assert not held & {getattr(utterances[place], unit) for place in fold.train + fold.select}


def test_folds_are_the_same_for_the_same_seed() -> None:
    utterances = corpus(6)
    training = range(len(utterances))
    assert inner_folds(utterances, training, "speaker", 3, 1) == inner_folds(utterances, training, "speaker", 3, 1)
    other = inner_folds(utterances, training, "speaker", 3, 2)
    assert [fold.test for fold in other] != [fold.test for fold in inner_folds(utterances, training, "speaker", 3, 1)]


def test_too_few_utterances_are_said_to_be() -> None:
    utterances = [utterance(place, "s0", emotion) for place, emotion in enumerate(EMOTIONS)]
    for count in (3, 1):
        with pytest.raises(UserError, match=f"^a training side of {count} utterances is too small .* larger corpus"):
            inner_folds(utterances, range(count), "speaker", 3, 0)
