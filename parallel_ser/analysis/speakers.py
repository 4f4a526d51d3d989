"""Whose speech a segment is: one person's all of it, by an RTTM, or by voices that are told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from parallel_ser.analysis.listen import Heard
from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.errors import UserError
from parallel_ser.system.files import plain

COVERED = 0.8
"""Share of a segment that is one speaker's in the RTTM, or else it is nobody's."""
MIXED = "several"
"""Who speaks in a segment in which nobody speaks for most of it."""
Row = TypeVar("Row", bound=Any)


class Assigner(Protocol):
    """Who speaks in segments as they come, and in the end which of them are the person's."""

    def name(self, heard: Heard, rate: int) -> str:
        """Of a segment; empty where that is not yet told."""

    def own(self, speaker: str) -> bool | None:
        """Whether that is the person who is analysed; None where that is not yet told."""

    def settle(self, rows: Sequence[Row]) -> tuple[list[Row], str | None, tuple[str, ...]]:
        """Rows with their ``speaker``, who of these is analysed (None: everybody), and notes."""


class Everybody:
    """All speech is one person's."""

    def name(self, heard: Heard, rate: int) -> str:
        """See ``Assigner``."""
        return ""

    def own(self, speaker: str) -> bool | None:
        """See ``Assigner``."""
        return True

    def settle(self, rows: Sequence[Row]) -> tuple[list[Row], str | None, tuple[str, ...]]:
        """See ``Assigner``."""
        return list(rows), None, ("all speech was taken for one person's",)


class Turns:
    """By an RTTM: one line a turn, ``SPEAKER file channel start seconds <NA> <NA> name <NA> <NA>``.

    Raises:
        UserError: the file cannot be read, or ``speaker`` has no turn in it.
    """

    def __init__(self, path: Path, speaker: str):
        self.turns = read_rttm(path)
        self.speaker = speaker
        names = sorted({name for _, _, name in self.turns})
        if speaker not in names:
            raise UserError(f"{path} has no turn of {speaker!r}: --speaker is one of {', '.join(names)}.")

    def name(self, heard: Heard, rate: int) -> str:
        """See ``Assigner``."""
        span, seconds = heard.span, Counter[str]()
        for start, end, name in self.turns:
            seconds[name] += max(0.0, min(end, span.end) - max(start, span.start))  # type: ignore[assignment]
        name, most = seconds.most_common(1)[0]
        return name if most >= COVERED * (span.end - span.start) else MIXED

    def own(self, speaker: str) -> bool | None:
        """See ``Assigner``."""
        return speaker == self.speaker

    def settle(self, rows: Sequence[Row]) -> tuple[list[Row], str | None, tuple[str, ...]]:
        """See ``Assigner``."""
        return list(rows), self.speaker, (f"the RTTM says who speaks; {self.speaker} is analysed",)


class Voices:
    """By Resemblyzer's speaker encoder, whose embeddings of segments are clustered in the end."""

    def __init__(self, count: int, speaker: str):
        if not speaker.isdigit() or not 1 <= int(speaker) <= count:
            raise UserError(f"--speaker is a number from 1 (who speaks most) to {count}, not {speaker!r}.")
        from parallel_ser.audio.encoder import SpeakerEncoder

        self._encoder, self._embeddings = SpeakerEncoder(), list[np.ndarray]()
        self.count, self.speaker = count, speaker

    def name(self, heard: Heard, rate: int) -> str:
        """See ``Assigner``."""
        self._embeddings.append(self._encoder(heard.signal, rate))
        return ""

    def own(self, speaker: str) -> bool | None:
        """See ``Assigner``."""
        return None

    def settle(self, rows: Sequence[Row]) -> tuple[list[Row], str | None, tuple[str, ...]]:
        """See ``Assigner``."""
        if len(rows) < self.count:
            return (
                [replace(row, speaker="1") for row in rows],
                self.speaker,
                ("too little speech to tell voices apart",),
            )
        labels = clustered(np.stack(self._embeddings), self.count)
        seconds = Counter[int]()
        for row, label in zip(rows, labels.tolist(), strict=True):
            seconds[label] += row.end - row.start
        rank = {label: str(place + 1) for place, (label, _) in enumerate(seconds.most_common())}
        named = [replace(row, speaker=rank[label]) for row, label in zip(rows, labels.tolist(), strict=True)]
        note = f"voices were told apart by a speaker encoder, which may be wrong; speaker {self.speaker} is analysed"
        return named, self.speaker, (note,)


def assigner(settings: AnalysisSettings, by_speaker: bool) -> Assigner:
    """What tells whose speech is whose, as the settings ask.

    Raises:
        UserError: they contradict each other, or a package is missing.
    """
    if settings.rttm is not None:
        if settings.speakers:
            raise UserError("--rttm says who speaks, and --speakers finds it out: give one of the two.")
        return Turns(settings.rttm, settings.speaker)
    if settings.speakers < 2:
        return Everybody()
    if by_speaker:
        raise UserError(
            "this run standardises by speaker, and who speaks is known with --speakers at the end alone: give --rttm, "
            "or a run with train.normalise=train."
        )
    return Voices(settings.speakers, settings.speaker)


def read_rttm(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and speaker of each turn.

    Raises:
        UserError: it cannot be read, or a line is no turn.
    """
    try:
        lines = plain(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    turns = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0] != "SPEAKER":
            continue
        try:
            start, seconds = float(words[3]), float(words[4])
            if not (0.0 <= start < np.inf and 0.0 <= seconds < np.inf):
                raise ValueError
            turns.append((start, start + seconds, words[7]))
        except (IndexError, ValueError) as error:
            raise UserError(
                f"{path}, line {number}: a turn is SPEAKER FILE CHANNEL START SECONDS <NA> <NA> NAME <NA> <NA>."
            ) from error
    if not turns:
        raise UserError(f"{path} holds no turn: a line begins with SPEAKER.")
    return turns


def clustered(embeddings: np.ndarray, count: int) -> np.ndarray:
    """Cluster (segments,) of each embedding ``(segments, values)`` of length 1, by k-means, the best of ten."""
    from sklearn.cluster import KMeans

    labels: np.ndarray = KMeans(count, n_init=10, random_state=0).fit_predict(embeddings)
    return labels
