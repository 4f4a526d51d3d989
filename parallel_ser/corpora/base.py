"""The contract of a corpus: a folder goes in, utterances come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parallel_ser.errors import UserError


class NoCorpusError(UserError):
    """Files that are not those of the corpus that a reader knows."""


Sex = Literal["female", "male", "unknown"]


@dataclass(frozen=True)
class Utterance:
    """One recording of one speaker with one emotion.

    Attributes:
        path: the audio file.
        corpus: the corpus's name, such as ``ravdess``.
        speaker: unique over corpora, such as ``ravdess-07``.
        sex: of the speaker.
        emotion: a label of the corpus's own (``calm``) or of the seven, after mapping.
        text: what is said, or an identifier of it; utterances of one sentence share it. Empty when unknown.
        duration: in seconds, where it is known without reading the file.
        fields: the corpus's own columns (intensity, repetition, session …), as text.
    """

    path: Path
    corpus: str
    speaker: str
    sex: Sex
    emotion: str
    text: str = ""
    duration: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Problem:
    """Something wrong with one file of a corpus.

    Attributes:
        path: the file.
        kind: ``unparsable name``, ``missing``, ``undecodable``, ``empty``, ``non-finite``, ``silent``,
            ``out of phase``, ``clipped``, ``too long``, ``too short``, ``misplaced`` or ``duplicate``.
        detail: one clause for the user.
    """

    path: Path
    kind: str
    detail: str


@dataclass(frozen=True)
class Corpus:
    """A corpus as read from its folder.

    Attributes:
        name: such as ``ravdess``.
        utterances: in an order that does not depend on the file system.
        problems: what the names alone reveal; ``corpora.check`` adds what the audio reveals.
        classes: the emotions in the corpus's canonical order (of the label map that was applied).
        notes: clauses on what is not among the utterances although nothing is wrong with it: other modalities,
            speakers that are not here, what was not chosen.
        protocol: how it is split where the settings leave that to the corpus.
    """

    name: str
    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    protocol: Literal["speaker", "session"] = "speaker"
