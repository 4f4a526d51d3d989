"""Splits by session, and splits that a corpus or a file brings along."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from parallel_ser.corpora.audit import audit, combine
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.nested import inner_folds
from parallel_ser.corpora.protocols import Fold, folds
from parallel_ser.corpora.settings import SplitSettings
from parallel_ser.errors import UserError

EMOTIONS = ("anger", "joy")


def corpus_of(speakers: list[tuple[str, dict[str, str]]], name: str = "made", folder: Path = Path("/made")) -> Corpus:
    """Each speaker, with these fields, says each emotion twice."""
    utterances = tuple(
        Utterance(
            folder / f"{speaker}{emotion}{take}.wav", name, f"{name}-{speaker}", "unknown", emotion, fields=fields
        )
        for (speaker, fields), emotion, take in product(speakers, EMOTIONS, range(2))
    )
    return Corpus(name, utterances, EMOTIONS)


def sides(corpus: Corpus, fold: Fold) -> list[set[str]]:
    return [{corpus.utterances[i].speaker for i in side} for side in (fold.train, fold.select, fold.test)]


def split(corpus: Corpus, **settings: object) -> list[Fold]:
    return folds(corpus, SplitSettings.model_validate({"protocol": "given", **settings}))


def dialogues(sessions: int = 5) -> Corpus:
    corpus = corpus_of([(f"{n}{sex}", {"session": str(n)}) for n in range(1, sessions + 1) for sex in "FM"])
    return Corpus(corpus.name, corpus.utterances, corpus.classes, protocol="session")


@pytest.mark.parametrize("protocol", ["session", "auto"])
@pytest.mark.parametrize("count", [5, 0])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_dialogue_partner_of_a_tested_speaker_is_trained_on(protocol: str, count: int, seed: int) -> None:
    corpus = dialogues()
    made = split(corpus, protocol=protocol, folds=count, seed=seed)
    assert [sides(corpus, fold)[2] for fold in made] == [{f"made-{n}F", f"made-{n}M"} for n in range(1, 6)]
    for fold in made:
        assert (fold.protocol, fold.selection_by) == ("session", "session")
        sessions = [{name[:-1] for name in side} for side in sides(corpus, fold)]
        assert not sessions[0] & sessions[1]
        assert not (sessions[0] | sessions[1]) & sessions[2]


def test_fewer_folds_than_sessions_and_more() -> None:
    corpus = dialogues()
    assert [len(sides(corpus, fold)[2]) for fold in split(corpus, protocol="session", folds=2)] == [6, 4]
    with pytest.raises(UserError, match=r"folds=6 is more than the 5 sessions of corpus made; use split.folds=5"):
        split(corpus, protocol="session", folds=6)
    with pytest.raises(UserError, match=r"needs 2 sessions and corpus made has one; use split.protocol=speaker"):
        split(dialogues(1), protocol="session")


def test_auto_is_by_speaker_where_the_corpus_says_nothing() -> None:
    assert {fold.protocol for fold in split(corpus_of([(f"{n}", {}) for n in range(5)]), protocol="auto")} == {
        "speaker"
    }


def test_sessions_must_be_known() -> None:
    with pytest.raises(UserError, match="needs the field session of every utterance, and 20 of 20"):
        split(corpus_of([(f"{n}", {}) for n in range(5)]), protocol="session")
    with pytest.raises(UserError, match="and 4 of 12"):
        split(corpus_of([("1", {"session": "1"}), ("2", {"session": "2"}), ("3", {})]), protocol="session")


def test_beside_a_corpus_with_sessions_each_speaker_is_one() -> None:
    one, two = dialogues(2), corpus_of([("a", {}), ("b", {})], "two")
    joined = Corpus("both", one.utterances + two.utterances, EMOTIONS, protocol="session")
    made = split(joined, protocol="auto", folds=0)
    assert [sides(joined, fold)[2] for fold in made] == [
        {"made-1F", "made-1M"}, {"made-2F", "made-2M"}, {"two-a"}, {"two-b"},
    ]  # fmt: skip


def test_where_partners_are_trained_on_the_result_says_so() -> None:
    corpus = dialogues()
    verdicts = {}
    for protocol in ("session", "speaker"):
        made = split(corpus, protocol=protocol)
        names = [str(one.path) for one in corpus.utterances]
        verdicts[protocol] = combine([audit(corpus.utterances, fold, names) for fold in made]).verdict()
    assert "session" not in verdicts["session"]
    assert re.search(r"; at most [12] of [12] sessions are, with dialogue partners\.$", verdicts["speaker"])


def test_a_crossing_that_is_taken_is_said_in_the_result() -> None:
    corpus = corpus_of([("a", {"split": "train"}), ("b", {"split": "dev"}), ("a", {"split": "test"})])
    (fold,) = split(corpus, speakers_may_cross=True)
    verdict = audit(corpus.utterances, fold, [str(i) for i in range(len(corpus.utterances))]).verdict()
    assert verdict.startswith("1 of 1 speakers, ")
    assert "SPEAKERS ARE ON BOTH SIDES, so this figure says nothing about new speakers" in verdict


def test_the_search_of_settings_keeps_sessions_apart() -> None:
    corpus = dialogues()
    training = [i for i, one in enumerate(corpus.utterances) if one.fields["session"] != "5"]
    for fold in inner_folds(corpus.utterances, training, "session", 4, 0):
        known = {corpus.utterances[training[i]].fields["session"] for i in (*fold.train, *fold.select)}
        held = {corpus.utterances[training[i]].fields["session"] for i in fold.test}
        assert not known & held


PARTS = ["train", "train", "train", "dev", "dev", "test", "test"]


@pytest.mark.parametrize("dev", ["dev", "selection", "Valid", "validation", "devel"])
def test_a_column_is_taken_as_it_is(dev: str) -> None:
    words = [dev if part == "dev" else part for part in PARTS]
    corpus = corpus_of([(f"s{n}", {"split": word}) for n, word in enumerate(words)])
    (fold,) = split(corpus)
    assert sides(corpus, fold) == [
        {f"made-s{n}" for n, part in enumerate(PARTS) if part == side} for side in ("train", "dev", "test")
    ]
    assert (fold.index, fold.protocol, fold.selection_by) == (0, "given", "given")


def test_a_column_of_another_name_without_a_selection_side() -> None:
    corpus = corpus_of([(f"s{n}", {"part": "test" if n > 3 else "train"}) for n in range(6)])
    (fold,) = split(corpus, column="part")
    train, select, test = sides(corpus, fold)
    assert test == {"made-s4", "made-s5"}
    assert fold.selection_by == "speaker"
    assert len(select) == 1
    assert not train & select


def test_numbers_are_folds() -> None:
    corpus = corpus_of([(f"s{n}", {"split": str(n % 3 + 1)}) for n in range(9)])
    made = split(corpus)
    assert [fold.index for fold in made] == [1, 2, 3]
    assert [sides(corpus, fold)[2] for fold in made] == [{f"made-s{n}" for n in range(k, 9, 3)} for k in range(3)]
    assert [fold.index for fold in split(corpus, only=(2,))] == [2]


def test_what_has_no_side_is_left_out() -> None:
    corpus = corpus_of(
        [("a", {"split": "train"}), ("b", {"split": ""}), ("c", {"split": "test"}), ("d", {"split": "dev"})]
    )
    (fold,) = split(corpus)
    assert sides(corpus, fold) == [{"made-a"}, {"made-d"}, {"made-c"}]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([("a", "train"), ("a", "test"), ("b", "dev")], "1 speaker on the sides of training and test: made-a; use"),
        ([("a", "train"), ("a", "dev"), ("b", "dev"), ("b", "train"), ("c", "test")],
         "2 speakers on the sides of training and selection: made-a, made-b"),
        ([("a", "train"), ("b", "dev"), ("b", "test")], "1 speaker on the sides of selection and test: made-b"),
    ],
)  # fmt: skip
def test_a_speaker_on_two_sides_is_refused_by_name(parts: list[tuple[str, str]], told: str) -> None:
    corpus = corpus_of([(speaker, {"split": word}) for speaker, word in parts])
    with pytest.raises(UserError, match=f"^split.column=split has {told}"):
        split(corpus)
    (fold,) = split(corpus, speakers_may_cross=True)
    assert fold.selection_by == "given"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "tset"], "has 'tset', which is neither a fold's number nor one of train,"),
        (["train", "eval"], "has 'eval', which is neither"),
        (["train", "train"], "puts no utterance of made on the test side of fold 0"),
        (["test", "dev"], "puts no utterance of made on the training side of fold 0"),
        (["0", "test"], "has '0', which is neither"),
    ],
)
def test_a_column_that_cannot_be_taken(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=f"^split.column=split {told}"):
        split(corpus_of([(f"s{n}", {"split": word}) for n, word in enumerate(words)]))


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(
        UserError, match="no utterance of made has the field split; its fields are part, room; name one"
    ):
        split(corpus_of([("a", {"part": "train", "room": "1"})]))


def test_files_that_list_paths_or_speakers(tmp_path: Path) -> None:
    corpus = corpus_of([(f"s{n}", {}) for n in range(7)], folder=tmp_path)
    for one in corpus.utterances:
        one.path.write_bytes(b"x")
    parts = dict(zip((f"made-s{n}" for n in range(7)), PARTS))
    (tmp_path / "by").mkdir()
    by_path, by_speaker = tmp_path / "by/path.csv", tmp_path / "by/speaker.csv"
    by_path.write_text("path,split\n" + "".join(f"../{u.path.name},{parts[u.speaker]}\n" for u in corpus.utterances))
    by_speaker.write_text("speaker,split\n" + "".join(f"{name[5:]},{part}\n" for name, part in parts.items()))
    (fold,) = split(corpus, file=by_path)
    assert sides(corpus, fold) == [
        {name for name, part in parts.items() if part == side} for side in ("train", "dev", "test")
    ]
    assert split(corpus, file=by_speaker) == [fold]
    for rows, told in (
        ("path,split\n../s0anger0.wav,train\n../none.wav,test\n", "line 3: there is no file ../none.wav"),
        ("speaker,split\ns0,train\nx,test\n", "line 3: made has no speaker 'x'"),
        ("speaker,split\ns0,train\ns0,test\n", "line 3 puts s0 on another side than a line before it"),
        ("path,split\npath.csv,train\n", "none of the files that .* lists, such as .*path.csv, is a recording of made"),
        ("path,side\n../s0anger0.wav,train\n", "line 1 lacks the column split"),
    ):
        by_path.write_text(rows)
        with pytest.raises(UserError, match=told):
            split(corpus, file=by_path)
