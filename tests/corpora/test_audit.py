"""The audit: what it counts on small splits made by hand, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallel_ser.corpora.audit import NAMES, Audit, audit, combine
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.protocols import Fold, folds
from parallel_ser.corpora.settings import CorpusSettings, SplitSettings


def utterance(name: str, speaker: str, text: str, emotion: str = "joy") -> Utterance:
    return Utterance(Path("anywhere") / speaker / name, "made", speaker, "unknown", emotion, text)


UTTERANCES = (
    utterance("0.wav", "ann", "one"),
    utterance("1.wav", "ann", "two", "anger"),
    utterance("2.wav", "bob", "one"),
    utterance("3.wav", "bob", "two", "anger"),
    utterance("4.wav", "cid", "one", "fear"),
    utterance("5.wav", "cid", "three"),
)


def test_counts_by_hand() -> None:
    fold = Fold(3, train=(0, 1), select=(2,), test=(4, 5), protocol="speaker", selection_by="speaker")
    made = audit(UTTERANCES, fold, ["a", "b", "a", "d", "b", "f"])
    assert (made.protocol, made.fold, made.selection_by) == ("speaker", 3, "speaker")
    assert made.utterances == {"train": 2, "select": 1, "test": 2}
    assert made.classes == {"train": {"anger": 1, "joy": 1}, "select": {"joy": 1}, "test": {"fear": 1, "joy": 1}}
    assert made.left_out == {"anger": 1}
    assert (made.test.speakers.shared, made.test.speakers.total) == (0, 1)
    assert (made.test.texts.shared, made.test.texts.total, made.test.texts.names) == (1, 2, ("one",))
    assert made.test.audio.names == ("cid/4.wav = ann/1.wav",)
    assert made.selection.audio.names == ("bob/2.wav = ann/0.wav",)
    assert (made.selection.speakers.shared, made.selection.texts.shared) == (0, 1)


def test_verdict_of_a_clean_split() -> None:
    fold = Fold(0, train=(0, 1), select=(2, 3), test=(4,), protocol="speaker")
    made = audit(UTTERANCES, fold, list("abcdef"))
    assert made.verdict() == "No speaker, 1 of 1 sentences and no audio are shared between training and test."


def test_speakers_on_both_sides_are_said_loudly() -> None:
    fold = Fold(0, train=(0, 2), select=(4,), test=(1, 3, 5), protocol="random")
    made = audit(UTTERANCES, fold, list("abcdef"))
    verdict = made.verdict()
    assert verdict.startswith("3 of 3 speakers, no sentence and no audio")
    assert "SPEAKERS ARE ON BOTH SIDES, so this figure says nothing about new speakers" in verdict
    assert made.selection_verdict() == (
        "No speaker, 1 of 1 sentences and no audio are shared between training and selection (held out by given)."
    )


def test_duplicate_audio_is_said_loudly() -> None:
    fold = Fold(0, train=(0, 1), select=(2, 3), test=(4,))
    verdict = audit(UTTERANCES, fold, list("abcdaf")).verdict()
    assert "1 of 1 recordings" in verdict
    assert "THE SAME RECORDING IS ON BOTH SIDES" in verdict


def test_unknown_texts_are_not_called_unshared() -> None:
    utterances = (*UTTERANCES[:4], utterance("4.wav", "cid", ""))
    verdict = audit(utterances, Fold(0, (0, 1), (2, 3), (4,)), list("abcde")).verdict()
    assert "no known sentence (not known of 1 utterance)" in verdict


def test_audio_without_an_identifier_is_no_duplicate() -> None:
    made = audit(UTTERANCES, Fold(0, (0, 1), (2, 3), (4,)), [""] * 6)
    assert (made.test.audio.shared, made.test.audio.unknown) == (0, 5)


def test_names_are_capped_and_counts_are_not() -> None:
    many = tuple(utterance(f"{i}.wav", f"speaker {i % 50}", "one") for i in range(100))
    made = audit(many, Fold(0, tuple(range(49)), (49,), tuple(range(50, 100))), [str(i) for i in range(100)])
    assert made.test.speakers.shared == 50
    assert len(made.test.speakers.names) == NAMES


def test_json_round_trip() -> None:
    made = audit(UTTERANCES, Fold(0, (0, 1), (2,), (4, 5)), list("abcdef"))
    assert Audit.model_validate_json(made.model_dump_json()) == made
    assert "anywhere" not in json.dumps(made.model_dump())  # the machine's folders are not in the record


def test_identifiers_must_match() -> None:
    with pytest.raises(ValueError, match="6 utterances and 1"):
        audit(UTTERANCES, Fold(0, (0,), (1,), (2,)), ["a"])


def test_combine_holds_the_worst_fold() -> None:
    clean = audit(UTTERANCES, Fold(0, (0, 1), (2, 3), (5,), "speaker", "speaker"), list("abcdef"))
    shared = audit(UTTERANCES, Fold(1, (0, 1), (2,), (3, 4), "speaker", "text"), list("abcdef"))
    both = combine([clean, shared])
    assert both.folds == (0, 1)
    assert both.tested == 3
    assert both.selection_by == ("speaker", "text")
    assert both.test.speakers == shared.test.speakers
    assert both.verdict().startswith("At most 1 of 2 speakers, at most 2 of 2 sentences and no audio are shared")
    assert "in 2 folds: SPEAKERS ARE ON BOTH SIDES" in both.verdict()
    assert combine([clean]).verdict().endswith("in 1 fold; at most 1 utterance of a fold is on no side of it.")
    whole = audit(UTTERANCES, Fold(0, (0, 1), (2, 3), (4, 5), "speaker"), list("abcdef"))
    assert combine([whole]).verdict().endswith("between training and test in 1 fold.")
    assert combine([whole]).left_out == {}
    assert combine([whole, clean]).left_out == {"fear": 1}


def test_classes_that_only_the_test_corpus_has_are_counted() -> None:
    corpus = Corpus("made", UTTERANCES[:4], ("anger", "joy"))
    other = tuple(utterance(f"{i}.wav", "dan", "four", emotion) for i, emotion in enumerate(["joy", "calm", "calm"]))
    settings = SplitSettings(protocol="cross-corpus", test=CorpusSettings())
    (fold,) = folds(corpus, settings, Corpus("other", other, ("calm", "joy")))
    made = audit(corpus.utterances + other, fold, list("abcdefg"))
    assert made.left_out == {"calm": 2}
    assert made.utterances["test"] == 1
    assert combine([made]).left_out == {"calm": 2}
    assert combine([made]).verdict() == (
        "No speaker, no sentence and no audio are shared between training and test in 1 fold; "
        "2 utterances of calm have no counterpart in training and are left out."
    )
    more = made.model_copy(update={"left_out": {"boredom": 1, "calm": 2}})
    assert "; 3 utterances (1 of boredom, 2 of calm) have no counterpart in training" in combine([more]).verdict()
    one = made.model_copy(update={"left_out": {"calm": 1}})
    assert combine([one]).verdict().endswith("1 utterance of calm has no counterpart in training and is left out.")
