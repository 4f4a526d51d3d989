"""Measures of a person's speech in one session, summed over its segments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from parallel_ser.audio.frames import intensity
from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.syllables import syllables
from parallel_ser.audio.voice import HOP, Voice, voice


@dataclass(frozen=True)
class Measure:
    """One measure of a report.

    Attributes:
        name: as in files.
        title: in words.
        unit: of the value.
        digits: behind the point.
        what: one sentence.
    """

    name: str
    title: str
    unit: str
    digits: int
    what: str


MEASURES = (
    Measure("speech_rate", "Speech rate", "syllables/s", 2, "Syllables a second of speech with its short pauses."),
    Measure("articulation_rate", "Articulation rate", "syllables/s", 2, "Syllables a second of speech without pauses."),
    Measure("intensity", "Intensity", "dB", 1, "Level of the speech in dB of full scale; the microphone's place and gain move it."),
    Measure("intensity_variability", "Intensity variability", "dB", 1, "Standard deviation of the level of sounding frames."),
    Measure("pause_rate", "Pauses", "a minute", 1, "Pauses of 0.2 to 2 s a minute of speech."),
    Measure("mean_pause_duration", "Pause length", "s", 2, "Mean length of these pauses."),
    Measure("phonation_ratio", "Speech without pauses", "%", 0, "Share of the speech that is no pause."),
    Measure("f0_variability", "F0 variability", "semitones", 2, "Standard deviation of the pitch of voiced frames."),
    Measure("jitter", "Jitter (local)", "%", 2, "Mean change from one period of the voice to the next."),
    Measure("shimmer", "Shimmer (local)", "%", 2, "Mean change of amplitude from one period to the next."),
    Measure("hnr", "HNR", "dB", 1, "Harmonics over noise."),
    Measure("cpp", "CPP", "dB", 1, "Cepstral peak prominence."),
    Measure("f0_median", "Median F0", "Hz", 0, "Pitch of the voice."),
)
"""In the order of a report: the literature's evidence, then the rest (see docs/analyze.md)."""

LONGEST_PAUSE = 2.0
"""Seconds; a longer silence is no pause in speech but its end."""
SHORTEST_PAUSE = 0.2


@dataclass(frozen=True)
class Measured:
    """Of one segment: what a session's measures are sums of.

    Attributes:
        seconds: of the segment.
        syllables: counted.
        level: of sounding frames in dB re full scale, ``(frames,)``.
        voice: see ``audio.voice``.
    """

    seconds: float
    syllables: int
    level: np.ndarray
    voice: Voice


def measured(signal: np.ndarray, sample_rate: int, pitch: Pitch) -> Measured:
    """Measure a segment of speech (samples,)."""
    tensor = torch.from_numpy(np.array(signal, np.float32))
    with torch.inference_mode():
        f0, voicing = (track.numpy() for track in pitch(tensor))
        level = intensity(tensor, sample_rate, 0.032, HOP).numpy().astype(np.float64)
    count = syllables(signal, sample_rate, f0, pitch.hop / sample_rate)
    sounding = level > max(float(np.quantile(level, 0.99)) - 25.0, -90.0)
    return Measured(len(signal) / sample_rate, count, level[sounding], voice(signal, sample_rate, f0, voicing, pitch.hop))


_BINS = np.arange(-240, 721)  # twelfths of a semitone re 100 Hz; and of a decibel below
_STEP = 1.0 / 12.0


@dataclass
class Session:
    """Sums over segments; what is kept does not grow with their number."""

    seconds: float = 0.0
    syllables: int = 0
    pauses: list[int] = field(default_factory=lambda: [0])
    paused: float = 0.0
    energy: float = 0.0
    levels: np.ndarray = field(default_factory=lambda: np.zeros(3))
    tones: np.ndarray = field(default_factory=lambda: np.zeros(len(_BINS)))
    hnr: np.ndarray = field(default_factory=lambda: np.zeros(2))
    cpp: np.ndarray = field(default_factory=lambda: np.zeros(2))
    periods: np.ndarray = field(default_factory=lambda: np.zeros(4))
    amplitudes: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def add(self, one: Measured) -> None:
        """Take a segment in."""
        own = one.voice
        self.seconds += one.seconds
        self.syllables += one.syllables
        self.energy += float((10.0 ** (one.level / 10.0)).sum())
        self.levels += _moments(one.level)
        tones = 12.0 * np.log2(own.f0 / 100.0)
        places = np.clip(np.rint(tones / _STEP).astype(int) - _BINS[0], 0, len(_BINS) - 1)
        self.tones += np.bincount(places, minlength=len(_BINS))
        self.hnr += (len(own.hnr), own.hnr.sum())
        self.cpp += (len(own.cpp), own.cpp.sum())
        self.periods += (own.period_change, own.period_pairs, own.period_sum, own.periods)
        self.amplitudes += (own.amplitude_change, own.amplitude_pairs, own.amplitude_sum, own.amplitudes)

    def pause(self, seconds: float) -> None:
        """Take in the silence between two stretches of speech of the same person."""
        if SHORTEST_PAUSE <= seconds <= LONGEST_PAUSE:
            self.pauses[0] += 1
            self.paused += seconds

    def values(self) -> dict[str, float]:
        """Of each of ``MEASURES`` that can be told."""
        found: dict[str, float] = {}
        whole = self.seconds + self.paused
        if self.seconds > 0.0:
            found["speech_rate"] = self.syllables / whole
            found["articulation_rate"] = self.syllables / self.seconds
            found["pause_rate"] = 60.0 * self.pauses[0] / whole
            found["phonation_ratio"] = 100.0 * self.seconds / whole
        if self.pauses[0]:
            found["mean_pause_duration"] = self.paused / self.pauses[0]
        if self.levels[0]:
            found["intensity"] = 10.0 * math.log10(self.energy / self.levels[0])
            found["intensity_variability"] = _deviation(self.levels)
        if self.hnr[0]:
            found["f0_variability"], found["f0_median"] = _tones(self.tones)
            found["hnr"] = self.hnr[1] / self.hnr[0]
            found["cpp"] = self.cpp[1] / self.cpp[0]
        for name, sums in (("jitter", self.periods), ("shimmer", self.amplitudes)):
            change, pairs, total, count = sums
            if pairs:
                found[name] = 100.0 * (change / pairs) / (total / count)
        return {name: float(value) for name, value in found.items()}


def _tones(counts: np.ndarray) -> tuple[float, float]:
    """Deviation in semitones and median in Hz of pitches between 0.75 of the first and 1.5 of the third quartile.

    What lies outside is mostly an octave error (Hirst 2011, "The analysis by synthesis of speech melody").
    """
    low, middle, high = (_BINS[int(np.searchsorted(np.cumsum(counts), part * counts.sum()))] for part in (0.25, 0.5, 0.75))
    inside = (_BINS >= low + 12.0 * math.log2(0.75) / _STEP) & (_BINS <= high + 12.0 * math.log2(1.5) / _STEP)
    own, tones = counts[inside], _BINS[inside] * _STEP
    mean = float(own @ tones / own.sum())
    return math.sqrt(float(own @ np.square(tones - mean) / own.sum())), 100.0 * 2.0 ** (float(middle) * _STEP / 12.0)


def _moments(values: np.ndarray) -> np.ndarray:
    return np.array([len(values), values.sum(), np.square(values).sum()])


def _deviation(moments: np.ndarray) -> float:
    count, total, squares = moments
    return math.sqrt(max(0.0, squares / count - (total / count) ** 2))


def ordered(values: Mapping[str, float]) -> list[tuple[Measure, float]]:
    """The measures that are there, in the order of ``MEASURES``."""
    return [(one, values[one.name]) for one in MEASURES if one.name in values]
