"""A recording of any length analysed by a run: segments, shares, arousal and valence, measures; in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from parallel_ser.analysis import speakers as voices
from parallel_ser.analysis.clips import encoded
from parallel_ser.analysis.listen import Heard, Listener
from parallel_ser.analysis.measures import MEASURES, Measured, measured, of_one, summary
from parallel_ser.analysis.quality import REASONS, Quality, faults, judged
from parallel_ser.analysis.recognise import Answer, Recogniser, Threshold, confusions, sample_rate, threshold
from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.voice import voice_pitch
from parallel_ser.corpora.labels import canonical
from parallel_ser.decision.shares import Share, mean, shares
from parallel_ser.decision.timeline import dimensions, sides_of, smoothed
from parallel_ser.errors import UserError
from parallel_ser.training.inference import Run

BY_SPEAKER = 256
"""Segments over which a run standardises that does so by speaker."""

MOST_SOUND = 7200.0
"""Seconds of speech that a report holds for listening."""

Status = str
"""``answered``; ``uncertain``: below the threshold; ``rejected``: not recognised; ``other``: another's speech."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment of speech and what was heard in it.

    Attributes:
        start: in seconds.
        end: in seconds.
        speech: seconds without pauses.
        status: see ``Status``.
        reasons: why it was rejected, or with ``lenient`` would have been; keys of ``quality.REASONS``.
        emotion: the most probable one; empty where there are no probabilities.
        confidence: its probability.
        probabilities: of each class, ``(classes,)``; None where it was not recognised.
        smooth: the same smoothed over time.
        arousal: expected, from -1 to 1, of the smoothed probabilities.
        valence: likewise.
        novelty: see ``training.novelty``.
        quality: of its sound.
        speaker: who speaks; empty where that is not told.
        measures: of this segment alone.
    """

    start: float
    end: float
    speech: float
    status: Status
    reasons: tuple[str, ...]
    emotion: str
    confidence: float
    probabilities: np.ndarray | None
    smooth: np.ndarray | None
    arousal: float | None
    valence: float | None
    novelty: float | None
    quality: Quality
    speaker: str
    measures: dict[str, float]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was found in a recording.

    Attributes:
        name: of the file, without its folders.
        seconds: of the recording.
        classes: in the order of all probabilities.
        segments: in the order of time.
        totals: seconds ``answered``, ``uncertain``, ``rejected``, of ``other`` people, and without speech (``silent``).
        rejected: seconds of each reason.
        shares: of the emotions, among all segments that were recognised.
        dimensions: mean arousal and valence over these, from -1 to 1: value, low, high.
        threshold: from which confidence the run answers.
        measures: of the person's speech, with an interval of 95% where there is enough: value, low, high.
        speech: seconds of the person's speech that the measures are of.
        sound: the segments for listening, by their place, as ``clips.encoded`` gives them.
        envelope: highest magnitude of each 32 ms, 0 to 255.
        settings: that it was made with.
        run: name of the run's folder.
        notes: what must be said beside it.
    """

    name: str
    seconds: float
    classes: tuple[str, ...]
    segments: tuple[Segment, ...]
    totals: dict[str, float]
    rejected: dict[str, float]
    shares: list[Share]
    dimensions: dict[str, dict[str, float | None]]
    threshold: Threshold
    measures: dict[str, dict[str, float | None]]
    speech: float
    sound: dict[int, bytes] = field(repr=False)
    envelope: np.ndarray = field(repr=False)
    settings: AnalysisSettings
    run: str
    notes: tuple[str, ...]


def analyse(
    run: Run,
    path: Path,
    settings: AnalysisSettings | None = None,
    progress: Callable[[float], None] | None = None,
) -> Analysis:
    """Analyse a recording of any length.

    Args:
        run: whose models answer; any kind.
        path: of the recording, in any format that is read.
        settings: how.
        progress: is told the seconds read so far.

    Raises:
        UserError: the recording cannot be read, or what the settings ask for is not there.
    """
    settings = settings or AnalysisSettings()
    told = voices.assigner(settings, by_speaker=run.by_speaker)
    recogniser, least = Recogniser(run), threshold(run, settings.error)
    rate = sample_rate(run)
    listener, pitch = Listener(path, rate, settings.vad), voice_pitch(rate)
    size = BY_SPEAKER if run.by_speaker else settings.batch
    rows: list[_Row] = []
    sound: dict[int, bytes] = {}
    kept = 0.0  # seconds of sound
    spare = size // 2 if run.by_speaker else 0
    with ThreadPoolExecutor(1, "measures") as pool:  # while this thread decodes, listens and recognises
        for part in batches(listener(progress), size, spare):
            named = [told.name(heard, rate) for heard in part]
            later = []
            for heard, speaker in zip(part, named, strict=True):
                maybe_own = told.own(speaker) is not False
                kept += heard.span.end - heard.span.start if maybe_own else 0.0
                playable = settings.audio and kept <= MOST_SOUND
                later.append(pool.submit(_listened, heard, rate, pitch if maybe_own else None, maybe_own and playable))
            answers = recogniser([heard.signal for heard in part], rate, named)
            for heard, speaker, answer, future in zip(part, named, answers, later, strict=True):
                quality, sums, clip = future.result()
                if clip:
                    sound[len(rows)] = clip
                span = heard.span
                rows.append(_Row(span.start, span.end, span.regions, answer, quality, sums, speaker))
    if not listener.seconds:
        raise UserError(f"{path} holds no samples; leave it out or record it again.")
    rows, chosen, more = told.settle(rows)
    found = _segments(rows, chosen, run, recogniser, least, settings)
    values, speech = _measures(rows, found)
    mine = {place: signal for place, signal in sound.items() if found[place].status != "other"}
    notes = (*run.notes, *more)
    if settings.audio and kept > MOST_SOUND:
        notes = (*notes, f"the first {MOST_SOUND / 3600:g} hours of speech alone can be played")
    if run.by_speaker:
        notes = (*notes, f"features were standardised over about {BY_SPEAKER} neighbouring segments")
    return Analysis(
        name=path.name,
        seconds=listener.seconds,
        classes=run.classes,
        segments=tuple(found),
        totals=_totals(found, listener.seconds),
        rejected=_rejected(found),
        shares=_shares(found, run),
        dimensions=_dimensions(found, run.classes),
        threshold=least,
        measures=values,
        speech=speech,
        sound=mine,
        envelope=np.concatenate(listener.envelope),
        settings=settings,
        run=run.folder.absolute().name,
        notes=notes,
    )


@dataclass(frozen=True, eq=False)
class _Row:
    """A segment before it is known which of all are the person's."""

    start: float
    end: float
    regions: tuple[tuple[float, float], ...]
    answer: Answer
    quality: Quality
    measured: Measured | None
    speaker: str


def _listened(heard: Heard, rate: int, pitch: Pitch | None, playable: bool) -> tuple[Quality, Measured | None, bytes]:
    """Quality and measures of a segment, and what can be played of it."""
    quality = judged(heard.signal, heard.around, rate)
    sums = measured(heard.signal, rate, pitch) if pitch is not None else None
    return quality, sums, encoded(heard.signal, rate) if playable else b""


def batches(items: Iterator[Heard], size: int, spare: int = 0) -> Iterator[list[Heard]]:
    """Lists of ``size``; the last has between ``spare`` and ``size + spare`` where there are as many.

    >>> [len(part) for part in batches(iter(range(9)), 4, 2)]
    [4, 5]
    """
    waiting: list[Heard] = []
    for item in items:
        waiting.append(item)
        if len(waiting) >= size + spare:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting


def _segments(
    rows: Sequence[_Row],
    chosen: str | None,
    run: Run,
    recogniser: Recogniser,
    least: Threshold,
    settings: AnalysisSettings,
) -> list[Segment]:
    found = []
    for row in rows:
        answer, speech = row.answer, sum(end - start for start, end in row.regions)
        wrong = faults(row.quality, speech, answer.novelty, recogniser.usual)
        if answer.probabilities is None:
            wrong.append("failed")
        status = "answered"
        if chosen is not None and row.speaker != chosen:
            status = "other"
        elif wrong and (not settings.lenient or answer.probabilities is None):
            status = "rejected"
        place = int(answer.probabilities.argmax()) if answer.probabilities is not None else -1
        confidence = float(answer.probabilities[place]) if answer.probabilities is not None else 0.0
        if status == "answered" and confidence < least.confidence:
            status = "uncertain"
        heard = status in ("answered", "uncertain")
        found.append(
            Segment(
                start=row.start,
                end=row.end,
                speech=speech,
                status=status,
                reasons=tuple(wrong),
                emotion=run.classes[place] if heard else "",
                confidence=confidence if heard else 0.0,
                probabilities=answer.probabilities if heard else None,
                smooth=None,
                arousal=None,
                valence=None,
                novelty=answer.novelty,
                quality=row.quality,
                speaker=row.speaker,
                measures=of_one(row.measured) if status != "other" and row.measured else {},
            )
        )
    return _smoothed(found, run.classes, settings.smooth)


def _smoothed(segments: list[Segment], classes: Sequence[str], width: float) -> list[Segment]:
    """The segments with their smoothed probabilities, arousal and valence."""
    places = [place for place, one in enumerate(segments) if one.probabilities is not None]
    if not places:
        return segments
    own = [segments[place] for place in places]
    rows = np.stack([one.probabilities for one in own if one.probabilities is not None])
    middle = [0.5 * (one.start + one.end) for one in own]
    smooth = smoothed(rows, middle, [one.seconds for one in own], width)
    arousal, valence = dimensions(smooth, [canonical(name) for name in classes])
    for row, place in enumerate(places):
        more = {"smooth": smooth[row], "arousal": float(arousal[row]), "valence": float(valence[row])}
        segments[place] = replace(segments[place], **more)
    return segments


def _measures(rows: Sequence[_Row], segments: Sequence[Segment]) -> tuple[dict[str, dict[str, float | None]], float]:
    """Of the person's speech, with intervals, and its seconds without pauses.

    Speech that is noisy, clipped or unlike speech is left out; silence next to it, or to another person, is no pause.
    """
    parts = []
    end: float | None = None
    total = 0.0
    for row, one in zip(rows, segments, strict=True):
        sound = one.status in ("answered", "uncertain") or (one.status == "rejected" and one.reasons == ("short",))
        if row.measured is None or not sound:
            end = None
            continue
        pauses = []
        for start, stop in row.regions:
            if end is not None:
                pauses.append(start - end)
            end = stop
        total += one.speech
        parts.append(row.measured.with_speech(one.speech).with_pauses(pauses))
    return summary(parts), total


def _totals(segments: Sequence[Segment], seconds: float) -> dict[str, float]:
    found = dict.fromkeys(("answered", "uncertain", "rejected", "other"), 0.0)
    for one in segments:
        found[one.status] += one.seconds
    return {**found, "silent": max(0.0, seconds - sum(found.values()))}


def _rejected(segments: Sequence[Segment]) -> dict[str, float]:
    """Seconds of each first reason, the most first."""
    found: dict[str, float] = {}
    for one in segments:
        if one.status == "rejected":
            found[one.reasons[0]] = found.get(one.reasons[0], 0.0) + one.seconds
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _shares(segments: Sequence[Segment], run: Run) -> list[Share]:
    own = [one for one in segments if one.probabilities is not None]
    heard = np.array([run.classes.index(one.emotion) for one in own], dtype=int)
    return shares(heard, np.array([one.seconds for one in own]), run.classes, confusions(run))


def _dimensions(segments: Sequence[Segment], classes: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Means over the segments, by their length, of the probabilities as they are; none where nothing was recognised."""
    own = [one for one in segments if one.probabilities is not None]
    if not own:
        return {}
    rows = np.stack([one.probabilities for one in own if one.probabilities is not None])
    seconds = np.array([one.seconds for one in own])
    names = [canonical(name) for name in classes]
    return {
        name: mean(values, seconds)
        for name, values in zip(("arousal", "valence"), dimensions(rows, names), strict=True)
    }


def record(analysis: Analysis) -> dict[str, Any]:
    """An analysis as plain data: of numbers, texts and lists alone; without sound."""

    def plain(row: np.ndarray | None) -> dict[str, float] | None:
        return None if row is None else {k: round(float(v), 5) for k, v in zip(analysis.classes, row, strict=True)}

    segments = [
        {
            **{name: getattr(one, name) for name in ("start", "end", "speech", "status", "emotion", "confidence")},
            "reasons": list(one.reasons),
            "probabilities": plain(one.probabilities),
            "smooth": plain(one.smooth),
            **{name: getattr(one, name) for name in ("arousal", "valence", "novelty", "speaker")},
            "quality": asdict(one.quality),
            "measures": one.measures,
        }
        for one in analysis.segments
    ]
    settings = {name: value for name, value in asdict(analysis.settings).items() if name not in ("batch", "rttm")}
    return {
        "schema_version": 1,
        "file": analysis.name,
        "seconds": analysis.seconds,
        "run": analysis.run,
        "classes": list(analysis.classes),
        "settings": {**settings, "rttm": analysis.settings.rttm is not None},
        "threshold": asdict(analysis.threshold),
        "totals": analysis.totals,
        "rejected": analysis.rejected,
        "shares": [asdict(one) for one in analysis.shares],
        "dimensions": analysis.dimensions,
        "mapping": {name: list(sides_of(canonical(name) or "")) for name in analysis.classes},
        "measures": analysis.measures,
        "measure_titles": [asdict(one) for one in MEASURES],
        "reasons": REASONS,
        "speech": analysis.speech,
        "notes": list(analysis.notes),
        "segments": segments,
    }
