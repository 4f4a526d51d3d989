"""Splits: properties over random corpora, and the published sets."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.protocols import Fold, folds
from parallel_ser.corpora.settings import CorpusSettings, SplitSettings
from parallel_ser.errors import UserError

EMOTIONS = ("anger", "joy", "neutral")


def corpus_of(utterances: list[Utterance], name: str = "made") -> Corpus:
    return Corpus(name, tuple(utterances), tuple(sorted({u.emotion for u in utterances})))


def utterance(speaker: str, sex: str, text: str, emotion: str, take: int = 0, corpus: str = "made") -> Utterance:
    path = Path(corpus) / speaker / f"{text}-{emotion}-{take}.wav"
    return Utterance(path, corpus, speaker, sex, emotion, text)  # type: ignore[arg-type]


def full(speakers: int, texts: int, emotions: tuple[str, ...] = EMOTIONS, name: str = "made") -> Corpus:
    """Every speaker says every sentence in every emotion; sexes alternate."""
    return corpus_of(
        [
            utterance(f"{name}-{s:02d}", ("female", "male")[s % 2], f"sentence {t}", e, corpus=name)
            for s, t, e in product(range(1, speakers + 1), range(texts), emotions)
        ],
        name,
    )


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Speakers of any sex, each with some of the sentences in some of the emotions, any number of times."""
    speakers = draw(st.integers(2, 9))
    texts = draw(st.integers(2, 6))
    sexes = draw(st.lists(st.sampled_from(("female", "male", "unknown")), min_size=speakers, max_size=speakers))
    takes = draw(st.lists(st.sampled_from((0, 1, 1, 1, 2)), min_size=1, max_size=40))
    cells = product(range(speakers), range(texts), EMOTIONS)
    made = [
        utterance(f"made-{s}", sexes[s], f"sentence {t}", e, take)
        for number, (s, t, e) in enumerate(cells)
        for take in range(takes[(number * 7 + s) % len(takes)])
    ]
    assume(made)
    return corpus_of(made)


def split(corpus: Corpus, protocol: str, k: int, seed: int = 0, selection: float = 0.15) -> list[Fold]:
    """The folds; a corpus that cannot be split so is no example, the refusals have their own tests."""
    try:
        return folds(corpus, SplitSettings(protocol=protocol, folds=k, seed=seed, selection=selection))  # type: ignore[arg-type]
    except UserError:
        assume(False)
        raise


some = settings(max_examples=60, deadline=None)
protocols = st.sampled_from(("random", "speaker", "text", "speaker+text"))


def speakers(corpus: Corpus, side: tuple[int, ...]) -> set[str]:
    return {corpus.utterances[i].speaker for i in side}


def texts(corpus: Corpus, side: tuple[int, ...]) -> set[str]:
    return {corpus.utterances[i].text for i in side}


@some
@given(corpora(), protocols, st.sampled_from((0, 2, 3)), st.integers(0, 3), st.sampled_from((0.1, 0.3, 0.6)))
def test_every_utterance_is_tested_once_and_sides_are_disjoint(
    corpus: Corpus, protocol: str, k: int, seed: int, selection: float
) -> None:
    made = split(corpus, protocol, k, seed, selection)
    tested = Counter(i for fold in made for i in fold.test)
    assert tested == Counter(range(len(corpus.utterances)))
    for fold in made:
        assert fold.train
        assert fold.select
        assert fold.test
        sides = [*fold.train, *fold.select, *fold.test]
        assert len(sides) == len(set(sides))
        if "+" not in protocol and "+" not in fold.selection_by:
            assert len(sides) == len(corpus.utterances)
        assert {corpus.utterances[i].emotion for i in fold.train} == {u.emotion for u in corpus.utterances}


@some
@given(corpora(), st.sampled_from(("speaker", "speaker+text")), st.sampled_from((0, 2, 3)), st.integers(0, 3))
def test_no_speaker_crosses(corpus: Corpus, protocol: str, k: int, seed: int) -> None:
    for fold in split(corpus, protocol, k, seed):
        assert not speakers(corpus, fold.test) & speakers(corpus, fold.train + fold.select)
        if "speaker" in fold.selection_by:
            assert not speakers(corpus, fold.select) & speakers(corpus, fold.train)


@some
@given(corpora(), st.sampled_from(("text", "speaker+text")), st.sampled_from((0, 2, 3)), st.integers(0, 3))
def test_no_text_crosses(corpus: Corpus, protocol: str, k: int, seed: int) -> None:
    for fold in split(corpus, protocol, k, seed):
        assert not texts(corpus, fold.test) & texts(corpus, fold.train + fold.select)
        if "text" in fold.selection_by:
            assert not texts(corpus, fold.select) & texts(corpus, fold.train)


@some
@given(corpora(), protocols, st.integers(0, 3))
def test_same_seed_same_folds(corpus: Corpus, protocol: str, seed: int) -> None:
    assert split(corpus, protocol, 2, seed) == split(corpus, protocol, 2, seed)


def test_another_seed_gives_other_folds() -> None:
    corpus = full(10, 4)
    first, second = (folds(corpus, SplitSettings(seed=seed)) for seed in (0, 1))
    assert [fold.test for fold in first] != [fold.test for fold in second]


def test_speaker_folds_do_not_depend_on_the_order_of_utterances() -> None:
    corpus = full(8, 2)
    turned = corpus_of(list(reversed(corpus.utterances)))
    for one, other in zip(folds(corpus, SplitSettings()), folds(turned, SplitSettings())):
        assert speakers(corpus, one.test) == speakers(turned, other.test)
        assert speakers(corpus, one.select) == speakers(turned, other.select)


@pytest.mark.parametrize("seed", range(4))
def test_speaker_folds_are_balanced_by_sex(seed: int) -> None:
    corpus = full(20, 2)
    for fold in folds(corpus, SplitSettings(folds=5, selection=0.25, seed=seed)):
        for side, each in ((fold.test, 2), (fold.select, 2), (fold.train, 6)):
            sexes = Counter(sex for _, sex in {(corpus.utterances[i].speaker, corpus.utterances[i].sex) for i in side})
            assert sexes == {"female": each, "male": each}
        assert fold.selection_by == "speaker"


def test_random_folds_are_stratified_by_emotion() -> None:
    corpus = full(5, 4)  # 20 utterances an emotion
    for fold in folds(corpus, SplitSettings(protocol="random", folds=4, selection=0.2)):
        assert Counter(corpus.utterances[i].emotion for i in fold.test) == dict.fromkeys(EMOTIONS, 5)
        assert Counter(corpus.utterances[i].emotion for i in fold.select) == dict.fromkeys(EMOTIONS, 3)


def test_leave_one_speaker_out() -> None:
    corpus = full(6, 2)
    made = folds(corpus, SplitSettings(folds=0))
    assert [len(speakers(corpus, fold.test)) for fold in made] == [1] * 6


def test_speaker_and_text_is_a_grid() -> None:
    corpus = full(12, 3)
    made = folds(corpus, SplitSettings(protocol="speaker+text", folds=4))
    assert len(made) == 4 * 3
    for fold in made:
        assert (len(speakers(corpus, fold.test)), len(texts(corpus, fold.test))) == (3, 1)
        assert fold.selection_by == "speaker+text"
        assert not speakers(corpus, fold.select) & speakers(corpus, fold.train)
        assert not texts(corpus, fold.select) & texts(corpus, fold.train)


@pytest.mark.parametrize(
    ("protocol", "speaker_count", "text_count", "by"),
    [
        ("speaker", 2, 20, "text"),  # TESS: one actress trains
        ("speaker", 2, 1, "random"),
        ("text", 8, 2, "speaker"),  # RAVDESS: one sentence trains
        ("speaker+text", 8, 2, "speaker"),
        ("speaker+text", 2, 20, "text"),
        ("speaker", 8, 2, "speaker"),
    ],
)
def test_the_selection_split_falls_back_and_says_so(
    protocol: str, speaker_count: int, text_count: int, by: str
) -> None:
    corpus = corpus_of(
        [
            utterance(f"made-{s}", "female", f"sentence {t}", e, take)
            for s, t, e, take in product(range(speaker_count), range(text_count), EMOTIONS, range(3))
        ]
    )
    made = folds(corpus, SplitSettings(protocol=protocol, folds=2))  # type: ignore[arg-type]
    assert {fold.selection_by for fold in made} == {by}


def test_the_selection_split_does_not_take_the_only_speaker_of_a_class() -> None:
    corpus = full(6, 2)
    rare = [utterance(f"made-{s:02d}", "female", "sentence 0", "surprise") for s in (1, 2)]
    corpus = corpus_of([*corpus.utterances, *rare])
    for seed in range(6):  # of the two speakers with surprise one may be tested, then the other must train
        for fold in split(corpus, "speaker", 6, seed):
            assert "surprise" in {corpus.utterances[i].emotion for i in fold.train}
            assert fold.selection_by == "speaker"


# --- published folds of RAVDESS ---------------------------------------------------------------------------------------


def ravdess(actors: range | tuple[int, ...]) -> Corpus:
    return corpus_of(
        [
            utterance(f"ravdess-{a:02d}", ("female", "male")[a % 2], f"sentence {t}", e, corpus="ravdess")
            for a, t, e in product(actors, range(2), EMOTIONS)
        ],
        "ravdess",
    )


def actors_tested(corpus: Corpus, made: list[Fold]) -> dict[int, set[int]]:
    return {fold.index: {int(name[-2:]) for name in speakers(corpus, fold.test)} for fold in made}


def test_published_sets() -> None:
    corpus = ravdess(range(1, 25))
    assert actors_tested(corpus, folds(corpus, SplitSettings(protocol="emobox6"))) == {
        0: {1, 11, 20, 21},
        1: {4, 10, 12, 14},
        2: {8, 9, 19, 23},
        3: {3, 5, 7, 24},
        4: {2, 15, 16, 18},
        5: {6, 13, 17, 22},
    }
    assert actors_tested(corpus, folds(corpus, SplitSettings(protocol="luna5"))) == {
        0: {2, 5, 14, 15, 16},
        1: {3, 6, 7, 13, 18},
        2: {10, 11, 12, 19, 20},
        3: {8, 17, 21, 23, 24},
        4: {1, 4, 9, 22},
    }


def test_published_sets_with_actors_missing() -> None:
    corpus = ravdess(range(1, 21))
    made = folds(corpus, SplitSettings(protocol="luna5"))
    assert actors_tested(corpus, made)[3] == {8, 17}
    assert all(fold.selection_by == "speaker" for fold in made)
    corpus = ravdess((1, 2, 3, 4, 5, 9, 10, 11))
    assert set(actors_tested(corpus, folds(corpus, SplitSettings(protocol="luna5")))) == {
        0,
        1,
        2,
        4,
    }  # no actor of set 3


# --- cross-corpus -----------------------------------------------------------------------------------------------------

CROSS = SplitSettings(protocol="cross-corpus", test=CorpusSettings())


def test_cross_corpus_tests_the_whole_other_corpus() -> None:
    corpus, other = full(4, 2), full(3, 2, ("joy", "neutral", "disgust"), name="other")
    (fold,) = folds(corpus, CROSS, other)
    every = corpus.utterances + other.utterances
    assert {every[i].corpus for i in fold.test} == {"other"}
    assert sorted(fold.train + fold.select) == list(range(len(corpus.utterances)))
    assert Counter(every[i].emotion for i in fold.test) == {"joy": 6, "neutral": 6}  # disgust was never trained
    assert fold.selection_by == "speaker"


def test_cross_corpus_needs_a_class_in_common() -> None:
    with pytest.raises(UserError, match="no emotion in common"):
        folds(full(4, 2), CROSS, full(3, 2, ("happy",), name="other"))


def test_cross_corpus_needs_another_corpus() -> None:
    with pytest.raises(UserError, match="also trained on"):
        folds(full(4, 2), CROSS, full(4, 2))


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(corpus: Corpus, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        folds(corpus, SplitSettings(**options))  # type: ignore[arg-type]
    message = str(caught.value)
    assert re.fullmatch(r"[^\n]+\.", message)
    return message


def test_more_folds_than_speakers_names_the_most_there_can_be() -> None:
    assert "split.folds=4 or fewer" in refused(full(4, 2), folds=5)
    assert "2 sentences" in refused(full(8, 2), protocol="text", folds=5)
    assert "split.folds=4 or fewer" in refused(full(4, 2), protocol="speaker+text", folds=5)


def test_one_speaker_only() -> None:
    message = refused(full(1, 3), folds=2)
    assert "has one" in message
    assert "split.protocol=text or random" in message
    assert "split.protocol=random" in refused(full(1, 1), folds=2)


def test_texts_unknown() -> None:
    corpus = corpus_of([*full(4, 2).utterances, utterance("made-01", "male", "", "joy")])
    for protocol in ("text", "speaker+text"):
        assert "1 of 25" in refused(corpus, protocol=protocol, folds=2)
    folds(corpus, SplitSettings(folds=2))


def test_a_fold_that_does_not_exist() -> None:
    assert "its folds are 0, 1, 2" in refused(full(6, 2), folds=3, only=(1, 3))
    corpus = full(6, 2)
    assert [fold.index for fold in folds(corpus, SplitSettings(folds=3, only=(2, 0)))] == [0, 2]


def test_only_does_not_change_a_fold() -> None:
    corpus = full(6, 2)
    assert folds(corpus, SplitSettings(folds=3, only=(2,))) == folds(corpus, SplitSettings(folds=3))[2:]


def test_a_class_missing_from_training_names_the_folds_that_work() -> None:
    corpus = corpus_of([*full(4, 2).utterances, utterance("made-01", "male", "sentence 0", "surprise")])
    message = refused(corpus, folds=4)
    assert "nothing to train surprise on" in message
    whole = tuple(int(digit) for digit in re.search(r"split.only=\[([\d,]+)\]", message)[1].split(","))  # type: ignore[index]
    assert len(whole) == 3
    assert len(folds(corpus, SplitSettings(folds=4, only=whole))) == 3


def test_published_folds_are_for_ravdess() -> None:
    assert "use split.protocol=speaker" in refused(full(4, 2), protocol="emobox6")


def test_no_utterances() -> None:
    assert "no utterances" in refused(Corpus("made", (), EMOTIONS))


def test_too_few_to_select_from() -> None:
    corpus = corpus_of([utterance(f"made-{s}", "male", "one", "joy") for s in range(2)])
    assert "split.selection" in refused(corpus, folds=2)
