"""Choosing recordings and emotions, merging emotions, and several corpora as one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from parallel_ser.config import load as load_config
from parallel_ser.corpora import choose, iemocap
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.registry import load
from parallel_ser.errors import UserError

EMOTIONS = ("neutral", "calm", "happy", "sad")


def corpus_of(name: str = "mine", emotions: tuple[str, ...] = EMOTIONS, speakers: int = 2) -> Corpus:
    """Each speaker says each emotion twice: improvised in session 1, scripted in session 2."""
    cells = product(range(speakers), emotions, (1, 2))
    utterances = tuple(
        Utterance(
            path=Path(f"/{name}/{speaker}{emotion}{session}.wav"),
            corpus=name,
            speaker=f"{name}-{speaker}",
            sex=("female", "male")[speaker % 2],  # type: ignore[arg-type]
            emotion=emotion,
            text=f"text {session}",
            fields={"session": str(session), "style": ("improvised", "scripted")[session - 1]},
        )
        for speaker, emotion, session in cells
    )
    return Corpus(name, utterances, emotions)


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ({}, 16),
        ({"style": ["improvised"]}, 8),
        ({"style": ["improvised", "scripted"]}, 16),
        ({"style": ["improvised"], "sex": ["female"]}, 4),
        ({"speaker": ["1"], "text": ["text 2"]}, 4),
        ({"session": ["2"], "corpus": ["mine"]}, 8),
        ({"session": ["02"]}, 8),
    ],
)
def test_where(conditions: dict[str, list[str]], count: int) -> None:
    chosen = choose.where(corpus_of(), conditions)
    assert len(chosen.utterances) == count
    for one in chosen.utterances:
        for name, values in conditions.items():
            value = one.fields.get(name) or getattr(one, name).removeprefix("mine-" if name == "speaker" else "")
            assert value in values or values == ["02"]
    assert [note[:30] for note in chosen.notes] == (
        [f"corpus.where takes {count} of 16 utt"[:30]] if conditions else []
    )


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ({"styl": ["improvised"]}, r"names styl, which no utterance .* \(did you mean style\?\); there is session,"),
        ({"style": ["improvized"]}, r"has style: improvized, .* \(did you mean improvised\?\); there is improvised,"),
        ({"emotion": ["sad"]}, "names emotion, which no"),
        ({"sex": ["female"], "speaker": ["1"]}, "leaves no utterance of mine: none has sex female, speaker 1"),
    ],
)  # fmt: skip
def test_where_that_nothing_meets(conditions: dict[str, list[str]], told: str) -> None:
    with pytest.raises(UserError, match=f"^corpus.where {told}"):
        choose.where(corpus_of(), conditions)


@pytest.mark.parametrize(
    ("merges", "expected"),
    [
        ({}, "neutral calm happy sad"),
        ({"neutral": ["calm"]}, "neutral neutral happy sad"),
        ({"positive": ["calm", "happy"]}, "neutral positive positive sad"),
        ({"joy": ["calm"]}, "neutral joy joy sad"),  # happy is joy
        ({"calm": ["sadness"]}, "neutral calm happy calm"),
    ],
)
def test_merge(merges: dict[str, list[str]], expected: str) -> None:
    merged = choose.merge(corpus_of(), merges)
    names = dict(zip(EMOTIONS, expected.split()))
    assert [one.emotion for one in merged.utterances] == [names[one.emotion] for one in corpus_of().utterances]
    assert merged.classes == tuple(dict.fromkeys(expected.split()))


def test_a_merge_is_told_in_the_names_of_the_classes() -> None:
    assert choose.merge(corpus_of(), {"low": ["sadness", "Calm"]}).notes == ("sad and calm count as low",)


@pytest.mark.parametrize(
    ("merges", "told"),
    [
        (
            {"neutral": ["clam"]},
            r"has clam, which is no emotion of mine \(did you mean calm\?\); there is neutral, calm,",
        ),
        ({"neutral": ["calm"], "sad": ["calm"]}, "counts calm as neutral and as sad"),
        ({"neutral": ["calm"], "calm": ["sad"]}, "counts calm as neutral and as calm"),
    ],
)
def test_merges_that_cannot_be(merges: dict[str, list[str]], told: str) -> None:
    with pytest.raises(UserError, match=f"^corpus.merge {told}"):
        choose.merge(corpus_of(), merges)


@pytest.mark.parametrize(
    ("merges", "expected"),
    [
        ({"happy": ["surprise"]}, {"joy": ["surprise"]}),  # the class means what was typed
        ({"joy": ["calmness"], "happy": ["ps"]}, {"joy": ["calm", "surprise"]}),
        ({"low": ["neutral", "Calm"]}, {"low": ["neutral", "calm"]}),
        ({"happiness": ["joy"]}, {}),
    ],
)
def test_merges_in_the_words_of_the_classes(merges: dict[str, list[str]], expected: dict[str, list[str]]) -> None:
    assert choose.in_words_of(("joy", "surprise", "neutral", "calm"), merges, "--merge", "RUN") == expected


def test_emotions_in_any_spelling_and_in_the_order_of_the_corpus() -> None:
    chosen = choose.emotions(corpus_of(), ["sadness", "neutral"])
    assert chosen.classes == ("neutral", "sad")
    assert {one.emotion for one in chosen.utterances} == {"neutral", "sad"}
    assert chosen.notes == ("corpus.emotions leaves out 4 of calm, 4 of happy",)
    with pytest.raises(UserError, match=r"^corpus.emotions has hapy, .*did you mean happy"):
        choose.emotions(corpus_of(), ["sad", "hapy"])


def manifest(folder: Path, *rows: str, header: str = "path,speaker,emotion,intensity") -> Path:
    folder.mkdir(exist_ok=True)
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(b"x")
    path = folder / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def loaded(*settings: Any) -> Corpus:
    return load(load_config(None, [*map(str, settings)]).corpus)


def test_merge_comes_before_the_map_and_emotions_after_it(tmp_path: Path) -> None:
    words = ("neutral", "bored", "happy", "excited", "angry", "sad", "fear")
    root = manifest(tmp_path, *(f"{n}{word}.wav,s{n},{word},normal" for n in (1, 2) for word in words))
    corpus = loaded(f"corpus.root={root}", "corpus.merge={neutral: bored}", "corpus.labels=four",
                    "corpus.emotions=[sad, happy, neutral]")  # fmt: skip
    assert [one.emotion for one in corpus.utterances][:5] == ["neutral", "neutral", "happy", "happy", "sad"]
    assert corpus.classes == ("neutral", "happy", "sad")
    assert corpus.notes == (
        "boredom counts as neutral", "corpus.labels=four leaves out 2 of fear", "corpus.emotions leaves out 2 of angry",
    )  # fmt: skip


def test_several_corpora_in_one(tmp_path: Path) -> None:
    one = manifest(tmp_path / "one", "a.wav,s1,happy,strong", "b.wav,s1,calm,normal", "c.wav,s2,sad,strong")
    header = "path,speaker,emotion,intensity,corpus"
    two = manifest(tmp_path / "two", "a.wav,s1,joy,normal,other", "b.wav,s1,bored,normal,other", header=header)
    corpus = loaded(f"corpus.root={one}", f"corpus.also=[{{root: {two}}}]", "corpus.where={intensity: strong}")
    assert corpus.name == "manifest"
    assert [(u.corpus, u.speaker, u.emotion) for u in corpus.utterances] == [
        ("manifest", "manifest-s1", "joy"), ("manifest", "manifest-s2", "sadness"),
        ("other", "other-s1", "joy"), ("other", "other-s1", "boredom"),
    ]  # fmt: skip
    assert corpus.classes == ("joy", "sadness", "boredom")
    assert loaded(f"corpus.root={one}", f"corpus.also=[{two}]") == loaded(f"corpus.root={one}", f"corpus.also={two}")


def test_a_corpus_has_the_first_ones_names() -> None:
    joined = choose.join([corpus_of("one", ("happy", "sad")), corpus_of("two", ("joy", "anger"))])
    assert joined.name == "one+two"
    assert joined.classes == ("happy", "sad", "anger")
    assert {one.emotion for one in joined.utterances if one.corpus == "two"} == {"happy", "anger"}
    assert choose.join([corpus_of()]) == corpus_of()


def test_a_recording_in_two_corpora() -> None:
    with pytest.raises(UserError, match=r"/mine/0calm1.wav is in two of the corpora mine"):
        choose.join([corpus_of(), corpus_of()])


def test_the_usual_choices_of_iemocap() -> None:
    corpus = corpus_of("iemocap", iemocap.CLASSES)
    chosen = choose.emotions(choose.where(corpus, {"style": ["improvised"]}), ["excited", "neutral", "angry", "sad"])
    assert chosen.classes == ("neutral", "excited", "angry", "sad")
    assert {one.fields["style"] for one in chosen.utterances} == {"improvised"}


@pytest.mark.parametrize("twin", ["mine-0 ", "MINE-0", "mine -0"])
def test_one_person_under_two_spellings_is_refused(twin: str) -> None:
    corpus = corpus_of()
    choose.require_distinct_speakers(corpus)
    first, *others = corpus.utterances
    twice = replace(corpus, utterances=(replace(first, speaker=twin), *others))
    with pytest.raises(UserError, match="differ in letter case or spaces alone"):
        choose.require_distinct_speakers(twice)
