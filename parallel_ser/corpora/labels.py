"""Emotion words: one table of spellings, and the label maps built on it.

Corpora spell one emotion in many ways (Angry, anger, ANG; happy, HAP, joy; ps, pleasant_surprised). ``canonical``
brings every known spelling to one word; the maps to seven and to four classes are then a few lines each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from parallel_ser.corpora.base import Corpus
from parallel_ser.errors import UserError, did_you_mean

Scheme = Literal["own", "seven", "four"]

SEVEN = ("joy", "anger", "sadness", "surprise", "fear", "disgust", "neutral")
FOUR = ("neutral", "happy", "angry", "sad")

_SPELLINGS: Mapping[str, str] = MappingProxyType(
    {
        "joy": "joy joyful joyous happy happiness hap",
        "anger": "anger angry ang angray",
        "sadness": "sadness sad",
        "surprise": "surprise surprised sur ps pleasant_surprise pleasant_surprised pleasantly_surprised",
        "fear": "fear fearful fea anxiety anxious anxiety_fear fear_anxiety",
        "disgust": "disgust disgusted dis",
        "neutral": "neutral neutrality neutral_state neu",
        "calm": "calm calmness",
        "boredom": "boredom bored bor",
        "excitement": "excitement excited exc",
        "frustration": "frustration frustrated fru",
        "contempt": "contempt contemptuous",
        "other": "other oth",
    }
)
_CANONICAL: Mapping[str, str] = MappingProxyType(
    {spelling: word for word, spellings in _SPELLINGS.items() for spelling in spellings.split()}
)
_SEVEN_OF: Mapping[str, str] = MappingProxyType(
    {**{word: word for word in SEVEN}, "calm": "neutral", "excitement": "joy"}
)
_FOUR_OF: Mapping[str, str] = MappingProxyType(
    {"neutral": "neutral", "joy": "happy", "excitement": "happy", "anger": "angry", "sadness": "sad"}
)


def canonical(word: str) -> str | None:
    """The one word for an emotion in any known spelling; None for a word that the table does not know.

    >>> canonical("Pleasant Surprise"), canonical("ANG"), canonical("jealousy")
    ('surprise', 'anger', None)
    """
    return _CANONICAL.get(re.sub(r"[\s/-]+", "_", word.strip().casefold()))


def present(order: Iterable[str], emotions: Iterable[str]) -> tuple[str, ...]:
    """Those classes of ``order`` that occur among ``emotions``, in that order: no class is without an utterance."""
    found = set(emotions)
    return tuple(emotion for emotion in order if emotion in found)


def apply(corpus: Corpus, scheme: Scheme) -> Corpus:
    """The corpus under another label map.

    ``own`` changes nothing. ``seven`` maps to ``SEVEN``: calm counts as neutral, happy and excited as joy. ``four``
    maps to ``FOUR``, where happy includes excited (the usual IEMOCAP task). Emotions with no counterpart (boredom,
    frustration, …) are left out, which a note says. The classes are those that occur, in the order of the scheme.

    Raises:
        UserError: an emotion's word is not known, so that nobody can say where it belongs; or nothing is left.
    """
    if scheme == "own":
        return corpus
    order, targets = (SEVEN, _SEVEN_OF) if scheme == "seven" else (FOUR, _FOUR_OF)
    mapped = []
    for utterance in corpus.utterances:
        word = canonical(utterance.emotion)
        if word is None:
            raise UserError(_unknown(corpus, utterance.emotion, scheme))
        if word in targets:
            mapped.append(replace(utterance, emotion=targets[word]))
    if not mapped:
        raise UserError(
            f"{corpus.name}: none of its emotions ({', '.join(corpus.classes)}) belongs to the {len(order)} classes of "
            f"corpus.labels={scheme} ({', '.join(order)}); use corpus.labels=own."
        )
    lost = Counter(one.emotion for one in corpus.utterances if canonical(one.emotion) not in targets)
    told = ", ".join(f"{lost[name]:,} of {name}" for name in corpus.classes if lost[name])
    return replace(
        corpus,
        utterances=tuple(mapped),
        classes=present(order, (u.emotion for u in mapped)),
        notes=(*corpus.notes, *([f"corpus.labels={scheme} leaves out {told}"] if told else [])),
    )


def align(test: Corpus, classes: Sequence[str]) -> Corpus:
    """The corpus tested on, with its emotions under the names that the corpus trained on has for them.

    Of ``classes``, an emotion becomes the one of the same name; else of the same meaning (``canonical``); else of the
    same one of the seven, the plain one first: calm becomes neutral where there is no calm, excited becomes happy. An
    emotion with no counterpart keeps its name, so that the protocol can leave it out and the audit count it.
    """
    names = {emotion: _counterpart(emotion, classes) or emotion for emotion in {u.emotion for u in test.utterances}}
    utterances = tuple(replace(one, emotion=names[one.emotion]) for one in test.utterances)
    return replace(
        test, utterances=utterances, classes=present(dict.fromkeys((*classes, *test.classes)), names.values())
    )


def _counterpart(emotion: str, classes: Sequence[str]) -> str | None:
    if emotion in classes:
        return emotion
    word = canonical(emotion)
    if word is None:
        return None
    meanings = {name: canonical(name) for name in classes}
    basic = _SEVEN_OF.get(word)
    same = [name for name, meaning in meanings.items() if meaning == word]
    plain = [name for name, meaning in meanings.items() if basic and meaning == basic]
    near = [name for name, meaning in meanings.items() if basic and meaning and _SEVEN_OF.get(meaning) == basic]
    return next(iter(same + plain + near), None)


def _unknown(corpus: Corpus, emotion: str, scheme: Scheme) -> str:
    return (
        f"{corpus.name}: the emotion '{emotion}'{did_you_mean(emotion, _CANONICAL)} has no place in "
        f"corpus.labels={scheme}; spell it as one of " + ", ".join(_SPELLINGS) + ", or use corpus.labels=own."
    )
