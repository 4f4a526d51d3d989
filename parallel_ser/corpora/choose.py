"""Choosing among the utterances of a corpus, merging its emotions, and joining corpora.

What is left out is said in the corpus's notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.labels import align, canonical
from parallel_ser.corpora.words import listed
from parallel_ser.errors import UserError, did_you_mean

_OWN = ("sex", "speaker", "text", "corpus")


def where(corpus: Corpus, conditions: Mapping[str, Sequence[str]]) -> Corpus:
    """The utterances whose fields have one of the values, such as ``{"style": ["improvised"], "sex": ["female"]}``.

    A field is one of the reader or the manifest, or sex, speaker (without the corpus's name), text or corpus.

    Raises:
        UserError: no utterance has the field, or none has any of the values.
    """
    kept = corpus.utterances
    for name, values in conditions.items():
        known = [value for one in corpus.utterances if (value := _value(one, name)) is not None]
        if not known:
            fields = sorted({field for one in corpus.utterances for field in one.fields})
            there = [*fields, *_OWN]
            raise UserError(
                f"corpus.where names {name}, which no utterance of {corpus.name} has{did_you_mean(name, there)}; there "
                f"is {', '.join(there)}."
            )
        numbers = {_number(value) for value in known}
        if absent := [value for value in values if _number(value) not in numbers]:
            raise UserError(
                f"corpus.where has {name}: {absent[0]}, which no utterance of {corpus.name} has"
                f"{did_you_mean(absent[0], set(known))}; there is {listed(sorted(set(known)))}."
            )
        wanted = {_number(value) for value in values}
        kept = tuple(one for one in kept if (value := _value(one, name)) is not None and _number(value) in wanted)
    if not conditions:
        return corpus
    told = ", ".join(f"{name} {' or '.join(values)}" for name, values in conditions.items())
    if not kept:
        raise UserError(f"corpus.where leaves no utterance of {corpus.name}: none has {told}; choose less.")
    note = f"corpus.where takes {len(kept):,} of {len(corpus.utterances):,} utterances of {corpus.name}: {told}"
    return _with(corpus, kept, corpus.classes, note)


def merge(corpus: Corpus, merges: Mapping[str, Sequence[str]]) -> Corpus:
    """The corpus with emotions under others' names, such as ``{"happy": ["excited"]}``.

    The name takes the place of the first of its emotions among the classes. Spellings of one emotion are one.

    Raises:
        UserError: an emotion that does not occur, or that goes two ways.
    """
    if not merges:
        return corpus
    names = merged_names(corpus.classes, merges, "corpus.merge", corpus.name)
    utterances = tuple(replace(one, emotion=names[one.emotion]) for one in corpus.utterances)
    classes = tuple(dict.fromkeys(names[name] for name in corpus.classes))
    told = {name: [find(one, corpus.classes, "corpus.merge", corpus.name) for one in merges[name]] for name in merges}
    return _with(corpus, utterances, classes, merge_note(told))


def merge_note(merges: Mapping[str, Sequence[str]]) -> str:
    """The clause on emotions that count as others.

    >>> merge_note({"neutral": ["calm", "bored"]})
    'calm and bored count as neutral'
    """
    clauses = (
        f"{' and '.join(sources)} count{'s' if len(sources) == 1 else ''} as {target}"
        for target, sources in merges.items()
    )
    return ", ".join(clauses)


def in_words_of(
    classes: Sequence[str], merges: Mapping[str, Sequence[str]], setting: str, corpus: str
) -> dict[str, list[str]]:
    """The merges under the classes' own names; a target that means none of them keeps its name.

    An emotion counts as itself already, so that is left out.

    >>> in_words_of(("joy", "neutral", "calm"), {"happy": ["calmness"], "low": ["neutral"]}, "--merge", "the run")
    {'joy': ['calm'], 'low': ['neutral']}

    Raises:
        UserError: an emotion that is none of the classes.
    """
    told: dict[str, list[str]] = {}
    for target, sources in merges.items():
        name = target if target in classes else next((one for one in classes if _same(one, target)), target)
        found = (find(source, classes, setting, corpus) for source in sources)
        told.setdefault(name, []).extend(source for source in dict.fromkeys(found) if source != name)
    return {name: sources for name, sources in told.items() if sources}


def merged_names(
    classes: Sequence[str], merges: Mapping[str, Sequence[str]], setting: str, corpus: str
) -> dict[str, str]:
    """The name that each class goes under; ``setting`` and ``corpus`` are for messages.

    >>> merged_names(("neutral", "calm", "sad"), {"neutral": ["calm"]}, "corpus.merge", "mine")
    {'neutral': 'neutral', 'calm': 'neutral', 'sad': 'sad'}

    Raises:
        UserError: an emotion that is none of the classes, or that goes two ways.
    """
    names: dict[str, str] = {}
    for target, sources in merges.items():
        same = [name for name in classes if _same(name, target)]
        for name in dict.fromkeys((*same, *(find(source, classes, setting, corpus) for source in sources))):
            if names.setdefault(name, target) != target:
                raise UserError(f"{setting} counts {name} as {names[name]} and as {target}; choose one.")
    return {name: names.get(name, name) for name in classes}


def emotions(corpus: Corpus, chosen: Sequence[str]) -> Corpus:
    """The utterances of the chosen emotions, all where none is chosen.

    Raises:
        UserError: an emotion that does not occur.
    """
    if not chosen:
        return corpus
    names = {find(word, corpus.classes, "corpus.emotions", corpus.name) for word in chosen}
    kept = tuple(one for one in corpus.utterances if one.emotion in names)
    lost = Counter(one.emotion for one in corpus.utterances if one.emotion not in names)
    told = ", ".join(f"{lost[name]:,} of {name}" for name in corpus.classes if lost[name])
    note = f"corpus.emotions leaves out {told}" if told else ""
    return _with(corpus, kept, tuple(name for name in corpus.classes if name in names), note)


def find(word: str, classes: Sequence[str], setting: str, corpus: str) -> str:
    """The class of that name, else the one of the same meaning (``angry`` for ``anger``).

    Raises:
        UserError: there is none.
    """
    found = word if word in classes else next((name for name in classes if _same(name, word)), None)
    if found is None:
        raise UserError(
            f"{setting} has {word}, which is no emotion of {corpus}{did_you_mean(word, classes)}; there is "
            f"{', '.join(classes)}."
        )
    return found


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora as one, with the emotions of all under the names that the first has for them (``labels.align``).

    Raises:
        UserError: a recording is in two of them.
    """
    first, *others = corpora
    if not others:
        return first
    aligned = [first, *(align(other, first.classes) for other in others)]
    utterances = tuple(one for corpus in aligned for one in corpus.utterances)
    files = Counter(path for corpus in aligned for path in {one.path.resolve() for one in corpus.utterances})
    twice = sorted(path for path, count in files.items() if count > 1)
    name = "+".join(dict.fromkeys(corpus.name for corpus in corpora))
    if twice:
        raise UserError(f"{twice[0]} is in two of the corpora {name}; list each recording once.")
    return Corpus(
        name,
        utterances,
        tuple(dict.fromkeys(emotion for corpus in aligned for emotion in corpus.classes)),
        tuple(problem for corpus in corpora for problem in corpus.problems),
        tuple(note for corpus in corpora for note in corpus.notes),
        "session" if any(corpus.protocol == "session" for corpus in corpora) else "speaker",
    )


def require_distinct_speakers(corpus: Corpus) -> None:
    """Refuse two speakers whose names differ in letter case or in spaces alone: most likely one person, written twice.

    Raises:
        UserError: names both.
    """
    seen: dict[str, str] = {}
    for name in dict.fromkeys(one.speaker for one in corpus.utterances):
        other = seen.setdefault("".join(name.casefold().split()), name)
        if other != name:
            raise UserError(
                f"the speakers {other!r} and {name!r} of {corpus.name} differ in letter case or spaces alone, and one "
                f"person on two sides of a split would make a model look better than it is: write each one way."
            )


def _value(utterance: Utterance, name: str) -> str | None:
    if name == "speaker":
        return utterance.speaker.removeprefix(f"{utterance.corpus}-")
    return str(getattr(utterance, name)) if name in _OWN else utterance.fields.get(name)


def _number(text: str) -> str:
    """A text, where it is a whole number without zeros before it, as YAML reads 01."""
    return text.lstrip("0") or "0" if text.isdecimal() else text


def _same(name: str, word: str) -> bool:
    meaning = canonical(word)
    return name == word or (meaning is not None and canonical(name) == meaning)


def _with(corpus: Corpus, utterances: tuple[Utterance, ...], classes: Iterable[str], note: str) -> Corpus:
    here = {one.emotion for one in utterances}
    return replace(
        corpus,
        utterances=utterances,
        classes=tuple(name for name in classes if name in here),
        notes=(*corpus.notes, *([note] if note else [])),
    )
