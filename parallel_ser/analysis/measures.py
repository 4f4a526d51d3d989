"""Measures of a person's speech in one session, made of sums over its segments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from parallel_ser.audio.frames import intensity
from parallel_ser.audio.pitch import Pitch
from parallel_ser.audio.syllables import SILENCE, syllables
from parallel_ser.audio.voice import HOP, voice
from parallel_ser.decision.shares import LEAST, resampled


@dataclass(frozen=True)
class Measure:
    """One measure of a report.

    Attributes:
        name: as in files.
        title: in words.
        unit: of the value.
        digits: behind the point.
        what: one sentence.
        compared: whether a report compares it with the person's baseline.
    """

    name: str
    title: str
    unit: str
    digits: int
    what: str
    compared: bool = True


MEASURES = (
    Measure("speech_rate", "Speech rate", "syllables/s", 2, "Syllables a second, pauses of up to 2 s included."),
    Measure("articulation_rate", "Articulation rate", "syllables/s", 2, "Syllables a second without the pauses."),
    Measure("intensity", "Intensity", "dB", 1, "Level in dB of full scale; place and gain of the microphone move it."),
    Measure("intensity_variability", "Intensity variability", "dB", 1, "Standard deviation of the level."),
    Measure("pause_rate", "Pauses", "a minute", 1, "Pauses of 0.2 to 2 s, a minute of speech."),
    Measure("mean_pause_duration", "Pause length", "s", 2, "Mean length of these pauses."),
    Measure("phonation_ratio", "Speech without pauses", "%", 0, "Share of the speech that is no pause."),
    Measure("f0_variability", "F0 variability", "semitones", 2, "Standard deviation of the pitch."),
    Measure("jitter", "Jitter (local)", "%", 2, "Mean change from one period of the voice to the next."),
    Measure("shimmer", "Shimmer (local)", "%", 2, "Mean change of amplitude from period to period."),
    Measure("hnr", "HNR", "dB", 1, "Harmonics over noise."),
    Measure("cpp", "CPP", "dB", 1, "Cepstral peak prominence: how far the voice stands out of the noise."),
    Measure("f0_median", "Median F0", "Hz", 0, "Pitch of the voice, which is not compared.", False),
)
"""In the order of a report: the literature's evidence, then the rest (see docs/analyze.md)."""

LONGEST_PAUSE = 2.0
"""Seconds; a longer silence is no pause in speech but its end."""
SHORTEST_PAUSE = 0.2
_RESAMPLES = 200


_SUMS = (
    *("seconds", "syllables", "pauses", "paused", "energy", "levels", "level_sum", "level_squares"),
    *("voiced", "hnr_sum", "cpp_count", "cpp_sum"),
    *("period_change", "period_pairs", "period_sum", "periods"),
    *("amplitude_change", "amplitude_pairs", "amplitude_sum", "amplitudes"),
)
_LOWEST, _HIGHEST, _STEP = -240, 720, 1.0 / 12.0  # bins of pitch: twelfths of a semitone re 100 Hz


@dataclass(frozen=True)
class Measured:
    """Of one segment: what measures are made of, and what adds up over segments.

    Attributes:
        sums: ``(len(_SUMS),)``.
        tones: pitch of the voiced frames in twelfths of a semitone re 100 Hz, int16.
    """

    sums: np.ndarray
    tones: np.ndarray

    def with_pauses(self, pauses: Sequence[float]) -> Measured:
        """The same with the pauses of the person's speech in it and before it, in seconds."""
        own = [one for one in pauses if SHORTEST_PAUSE <= one <= LONGEST_PAUSE]
        sums = self.sums.copy()
        sums[_SUMS.index("pauses")], sums[_SUMS.index("paused")] = len(own), sum(own)
        return Measured(sums, self.tones)

    def with_speech(self, seconds: float) -> Measured:
        """The same with so many seconds of speech that is no pause."""
        sums = self.sums.copy()
        sums[_SUMS.index("seconds")] = seconds
        return Measured(sums, self.tones)


def measured(signal: np.ndarray, sample_rate: int, pitch: Pitch) -> Measured:
    """Measure a segment of speech (samples,), which counts as speech without pauses."""
    tensor = torch.from_numpy(np.array(signal, np.float32))
    with torch.inference_mode():
        f0, voicing = (track.numpy() for track in pitch(tensor))
        level = intensity(tensor, sample_rate, 0.032, HOP).numpy().astype(np.float64)
    count = syllables(signal, sample_rate, voicing, pitch.hop / sample_rate)
    level = level[level > max(float(np.quantile(level, 0.99)) - SILENCE, -90.0)]
    own = voice(signal, sample_rate, f0, voicing, pitch.hop)
    sums = np.array(
        [
            *(len(signal) / sample_rate, count, 0.0, 0.0),
            *((10.0 ** (level / 10.0)).sum(), len(level), level.sum(), np.square(level).sum()),
            *(len(own.f0), own.hnr.sum(), len(own.cpp), own.cpp.sum()),
            *(own.period_change, own.period_pairs, own.period_sum, own.periods),
            *(own.amplitude_change, own.amplitude_pairs, own.amplitude_sum, own.amplitudes),
        ],
        dtype=np.float64,
    )
    tones = np.clip(np.rint(12.0 * np.log2(own.f0 / 100.0) / _STEP), _LOWEST, _HIGHEST).astype(np.int16)
    return Measured(sums, tones)


def values(sums: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Of each of ``MEASURES`` that can be told, from the sums and the counts of tones ``(bins,)`` of segments."""
    of = dict(zip(_SUMS, sums.tolist(), strict=True))
    found: dict[str, float] = {}
    whole = of["seconds"] + of["paused"]
    if of["seconds"] > 0.0:
        found["speech_rate"] = of["syllables"] / whole
        found["articulation_rate"] = of["syllables"] / of["seconds"]
        found["pause_rate"] = 60.0 * of["pauses"] / whole
        found["phonation_ratio"] = 100.0 * of["seconds"] / whole
    if of["pauses"]:
        found["mean_pause_duration"] = of["paused"] / of["pauses"]
    if of["levels"]:
        found["intensity"] = 10.0 * math.log10(of["energy"] / of["levels"])
        mean = of["level_sum"] / of["levels"]
        found["intensity_variability"] = math.sqrt(max(0.0, of["level_squares"] / of["levels"] - mean**2))
    if of["voiced"] and counts.sum():
        found["f0_variability"], found["f0_median"] = _tones(counts)
        found["hnr"] = of["hnr_sum"] / of["voiced"]
        found["cpp"] = of["cpp_sum"] / max(1.0, of["cpp_count"])
    for name, kind in (("jitter", "period"), ("shimmer", "amplitude")):
        if of[f"{kind}_pairs"] and of[f"{kind}s"]:
            change = of[f"{kind}_change"] / of[f"{kind}_pairs"]
            found[name] = 100.0 * change / (of[f"{kind}_sum"] / of[f"{kind}s"])
    return found


def summary(parts: Sequence[Measured], seed: int = 0) -> dict[str, dict[str, float | None]]:
    """Of segments in the order of time each measure's ``value``, and ``low`` and ``high`` of its interval of 95%.

    The interval is the percentiles over resamples of blocks of neighbouring segments, and is None of few segments: how
    far the value would move had the person said something else in the same session.
    """
    if not parts:
        return {}
    sums = np.stack([one.sums for one in parts])
    counts = np.stack([_counted(one.tones) for one in parts])
    found: dict[str, dict[str, float | None]] = {
        name: {"value": value, "low": None, "high": None}
        for name, value in values(sums.sum(axis=0), counts.sum(axis=0)).items()
    }
    if len(parts) < LEAST:
        return found
    rng = np.random.default_rng(seed)
    times = np.stack([np.bincount(resampled(len(parts), rng), minlength=len(parts)) for _ in range(_RESAMPLES)])
    draws = [values(*pair) for pair in zip(times @ sums, times.astype(np.float32) @ counts, strict=True)]
    for name, one in found.items():
        own = [draw[name] for draw in draws if name in draw]
        one["low"], one["high"] = (float(part) for part in np.percentile(own, [2.5, 97.5]))
    return found


def of_one(part: Measured) -> dict[str, float]:
    """The measures of a segment by itself."""
    return values(part.sums, _counted(part.tones))


def _counted(tones: np.ndarray) -> np.ndarray:
    return np.bincount(tones - _LOWEST, minlength=_HIGHEST - _LOWEST + 1).astype(np.float32)


def _tones(counts: np.ndarray) -> tuple[float, float]:
    """Deviation in semitones and median in Hz of pitches between 0.75 of the first and 1.5 of the third quartile.

    What lies outside is mostly an octave error (the two passes of Hirst 2011, Journal of Speech Sciences 1).
    """
    bins = np.arange(_LOWEST, _HIGHEST + 1)
    running = np.cumsum(counts)
    low, middle, high = (int(bins[np.searchsorted(running, part * running[-1])]) for part in (0.25, 0.5, 0.75))
    inside = (bins >= low + 12.0 * math.log2(0.75) / _STEP) & (bins <= high + 12.0 * math.log2(1.5) / _STEP)
    own, tones = counts[inside].astype(np.float64), bins[inside] * _STEP
    mean = float(own @ tones / own.sum())
    return math.sqrt(float(own @ np.square(tones - mean) / own.sum())), 100.0 * 2.0 ** (middle * _STEP / 12.0)
