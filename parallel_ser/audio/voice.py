"""The voice period by period: pulses, jitter, shimmer, harmonics over noise, cepstral peak prominence.

What phoneticians measure, in their definitions (Boersma 1993; the manual of Praat; Hillenbrand et al. 1994), of one
stretch of speech. ``spectral.Quality`` has quicker relatives, frame by frame, for a classifier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d  # not when it is asked for, which two threads may do at once

from parallel_ser.audio.pitch import Pitch

F_MIN, F_MAX = 75.0, 600.0
"""Hz; the range in which pitch is searched for these measures, Praat's defaults."""
HOP = 0.010
"""Seconds between frames of pitch."""

_LEAST, _MOST = 1e-4, 0.02  # s, of a period that counts
_PERIOD_FACTOR = 1.3  # neighbouring periods that differ by more are no neighbours
_AMPLITUDE_FACTOR = 1.6
_ALIKE, _ALIKE_BEYOND = 0.3, 0.7  # correlation of neighbouring periods within, and just outside, a voiced stretch
_CEPSTRUM = 0.040  # s of a frame
_CEPSTRUM_TOP = 5000.0  # Hz
_SMOOTHED = 0.0005  # s of quefrency over which the power cepstrum is averaged
_CEPSTRUM_RANGE = (60.0, 330.0)  # Hz in which the cepstrum's peak is searched
_SURE = 0.6  # voicing from which a frame is measured
_VOICED_RUN = 4  # frames; shorter voiced stretches hold too few periods
_VOICED_AT = 0.5  # voicing from which a frame counts as voiced at all


@dataclass(frozen=True)
class Voice:
    """Sums over one stretch of speech, which add up over stretches.

    Attributes:
        f0: pitch of the voiced frames in Hz, ``(voiced,)``.
        hnr: harmonics over noise of the voiced frames in dB, ``(voiced,)``.
        cpp: cepstral peak prominence of every third of them in dB.
        period_change: sum of the differences between neighbouring periods, s.
        period_pairs: how many.
        period_sum: sum of the periods, s.
        periods: how many.
        amplitude_change: sum of the differences between neighbouring periods' amplitudes.
        amplitude_pairs: how many.
        amplitude_sum: sum of the amplitudes.
        amplitudes: how many.
    """

    f0: np.ndarray
    hnr: np.ndarray
    cpp: np.ndarray
    period_change: float
    period_pairs: int
    period_sum: float
    periods: int
    amplitude_change: float
    amplitude_pairs: int
    amplitude_sum: float
    amplitudes: int


def voice_pitch(sample_rate: int) -> Pitch:
    """The pitch module that ``voice`` takes."""
    hop = max(1, round(HOP * sample_rate))
    return Pitch(sample_rate, hop, F_MIN, min(F_MAX, sample_rate / 8), _VOICED_AT)


def voice(signal: np.ndarray, sample_rate: int, f0: np.ndarray, voicing: np.ndarray, hop: int) -> Voice:
    """Measure a stretch of speech (samples,) with its pitch in Hz and its voicing (frames,), ``hop`` samples apart.

    Jitter (local) is ``(period_change / period_pairs) / (period_sum / periods)``, shimmer (local) the same of
    amplitudes; both as Praat defines them.
    """
    f0 = _long_runs(np.where(voicing >= _SURE, f0.astype(np.float64), 0.0))
    voiced = f0 > 0.0
    ratio = np.clip(voicing[voiced].astype(np.float64), 0.01, 0.9999)
    changes, period_pairs, lengths, amplitude = 0.0, 0, [0.0], [0.0]
    amplitude_change, amplitude_pairs = 0.0, 0
    wave = np.asarray(signal, np.float64)
    for points in pulses(wave, sample_rate, f0, hop / sample_rate):
        periods = np.diff(points)
        good = (periods >= _LEAST) & (periods <= _MOST)
        first, second = periods[:-1], periods[1:]
        near = good[:-1] & good[1:] & (np.maximum(first, second) <= _PERIOD_FACTOR * np.minimum(first, second))
        changes += float(np.abs(first - second)[near].sum())
        period_pairs += int(near.sum())
        lengths.extend(periods[good].tolist())
        heights = _amplitudes(wave, sample_rate, points, near)
        before, after = heights[:-1], heights[1:]
        both = (before > 0.0) & (after > 0.0)
        both &= np.maximum(before, after) <= _AMPLITUDE_FACTOR * np.minimum(before, after)
        amplitude_change += float(np.abs(before - after)[both].sum())
        amplitude_pairs += int(both.sum())
        amplitude.extend(heights[heights > 0.0].tolist())
    return Voice(
        f0=f0[voiced],
        hnr=10.0 * np.log10(ratio / (1.0 - ratio)),
        cpp=prominences(wave, sample_rate, np.flatnonzero(voiced)[::3] * hop),
        period_change=changes,
        period_pairs=period_pairs,
        period_sum=float(sum(lengths)),
        periods=len(lengths) - 1,
        amplitude_change=amplitude_change,
        amplitude_pairs=amplitude_pairs,
        amplitude_sum=float(sum(amplitude)),
        amplitudes=len(amplitude) - 1,
    )


def _long_runs(f0: np.ndarray) -> np.ndarray:
    """Pitch (frames,) with 0 where the voiced stretch is short."""
    edges = np.flatnonzero(np.diff(f0 > 0.0, prepend=False, append=False))
    kept = f0.copy()
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < _VOICED_RUN:
            kept[start:stop] = 0.0
    return kept


def pulses(signal: np.ndarray, sample_rate: int, f0: np.ndarray, hop: float) -> list[np.ndarray]:
    """Times in seconds of the glottal pulses of each voiced stretch.

    In the middle of a stretch the first pulse is the extreme sample within a period. From there, to either side, the
    next one lies where the waveform of a period is most like that of the last, 0.8 to 1.25 periods away (the
    cross-correlation method of Praat's "To PointProcess (cc)").

    Args:
        signal: (samples,), float64.
        sample_rate: in Hz.
        f0: pitch in Hz (frames,), 0 where unvoiced.
        hop: seconds between its frames.
    """
    edges = np.flatnonzero(np.diff(f0 > 0.0, prepend=False, append=False))
    wave = _Wave(signal, sample_rate)
    found = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        frames = (np.arange(start, stop) * hop * sample_rate).tolist()
        periods = (sample_rate / f0[start:stop]).tolist()  # samples
        left, right = frames[0] - 0.5 * hop * sample_rate, frames[-1] + 0.5 * hop * sample_rate
        middle = 0.5 * (left + right)
        first = wave.extreme(middle, 0.5 * _interpolated(middle, frames, periods))
        before = _walk(wave, first, -1, left, frames, periods)
        after = _walk(wave, first, 1, right, frames, periods)
        found.append(np.array([*reversed(before), first, *after]) / sample_rate)
    return found


class _Wave:
    """A signal (samples,) with the running sums that comparing its periods takes."""

    def __init__(self, signal: np.ndarray, sample_rate: int):
        self.signal = signal
        self.squares = np.concatenate([[0.0], np.cumsum(signal * signal)])
        self.loudest = float(np.abs(signal).max(initial=0.0))

    def extreme(self, place: float, half: float) -> float:
        """The sample of the highest magnitude within ``half`` samples of ``place``."""
        low, high = max(0, round(place - half)), min(len(self.signal), round(place + half) + 1)
        return float(low + int(np.abs(self.signal[low:high]).argmax())) if high > low else place

    def most_alike(self, place: float, period: float, way: int) -> tuple[float, float, float]:
        """Correlation, place and highest magnitude of the period most like the one around ``place``; -1 of none."""
        width = max(4, round(period))
        start = round(place - 0.5 * width)
        near, far = math.floor(0.8 * period), math.ceil(1.25 * period)
        low, high = (start - far, start - near) if way < 0 else (start + near, start + far)
        low, high = max(low - 1, 0), min(high + 1, len(self.signal) - width)
        if start < 0 or start + width > len(self.signal) or high - low < 2:
            return -1.0, place + way * period, 0.0
        template, squares = self.signal[start : start + width], self.squares
        energy = squares[low + width : high + width + 1] - squares[low : high + 1]
        own = max(float(squares[start + width] - squares[start]), 1e-30)
        alike = np.correlate(self.signal[low : high + width], template) / np.sqrt(np.maximum(energy, 1e-30) * own)
        best = int(alike[1:-1].argmax()) + 1
        before, top, after = alike[best - 1 : best + 2].tolist()
        bend = before - 2.0 * top + after
        shift = min(0.5, max(-0.5, 0.5 * (before - after) / bend)) if bend < 0.0 else 0.0
        window = self.signal[low + best : low + best + width]
        peak = max(float(window.max()), -float(window.min()))
        return top, place + low + best + shift - start, peak


def _walk(
    wave: _Wave, first: float, way: int, end: float, frames: Sequence[float], periods: Sequence[float]
) -> list[float]:
    """Pulses from ``first`` to the ``end`` of the stretch on one side, all in samples."""
    points: list[float] = []
    here = first
    while True:
        period = _interpolated(here, frames, periods)
        alike, here, peak = wave.most_alike(here, period, way)
        if (here - end) * way > 0.0:
            if alike > _ALIKE_BEYOND and peak > 0.0233 * wave.loudest:
                points.append(here)
            return points
        if alike > _ALIKE and peak > 0.01 * wave.loudest:
            points.append(here)


def _interpolated(place: float, frames: Sequence[float], values: Sequence[float]) -> float:
    """Of evenly spaced frames; beyond their ends the first and the last value."""
    if len(frames) == 1:
        return values[0]
    at = min(max((place - frames[0]) / (frames[1] - frames[0]), 0.0), len(frames) - 1.0)
    low = min(int(at), len(frames) - 2)
    return values[low] + (at - low) * (values[low + 1] - values[low])


def _amplitudes(signal: np.ndarray, rate: int, points: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Of each inner pulse the RMS amplitude, Hann-weighted over a fifth of a period to each side; 0 where not near."""
    heights = np.zeros(max(0, len(points) - 2))
    places = np.flatnonzero(near)
    if not len(places):
        return heights
    centres = points[places + 1]
    before, after = 0.2 * (centres - points[places]), 0.2 * (points[places + 2] - centres)
    reach = math.ceil(float(max(before.max(), after.max())) * rate) + 1
    samples = np.rint(centres * rate).astype(int)[:, None] + np.arange(-reach, reach + 1)
    away = samples / rate - centres[:, None]
    phase = away / np.where(away < 0.0, before[:, None], after[:, None])
    weights = np.where(np.abs(phase) <= 1.0, 0.5 + 0.5 * np.cos(math.pi * phase), 0.0)
    part = signal[np.clip(samples, 0, len(signal) - 1)] * weights
    heights[places] = np.sqrt((part * part).sum(axis=1) / np.maximum((weights * weights).sum(axis=1), 1e-30))
    return heights


def prominences(signal: np.ndarray, rate: int, centres: np.ndarray) -> np.ndarray:
    """Cepstral peak prominence in dB around the samples ``centres`` (frames,).

    The power cepstrum of the level spectrum up to 5 kHz of a Hann window of 40 ms; its peak between the quefrencies of
    330 and 60 Hz, over the regression line through the cepstrum above 1 ms (Hillenbrand et al. 1994).
    """
    if not len(centres):
        return np.zeros(0)
    length = round(_CEPSTRUM * rate)
    n_fft = 1 << (length - 1).bit_length()
    padded = np.pad(signal, (length // 2, length))
    weights = np.hanning(length)
    bins = min(n_fft // 2, int(_CEPSTRUM_TOP * n_fft / rate))
    quefrency = np.arange(bins) / (2.0 * bins * rate / n_fft)  # s
    inside = np.flatnonzero((quefrency >= 1.0 / _CEPSTRUM_RANGE[1]) & (quefrency <= 1.0 / _CEPSTRUM_RANGE[0]))
    smooth = max(1, round(_SMOOTHED / quefrency[1]))
    line = np.flatnonzero((quefrency >= 0.001) & (quefrency <= 0.05))
    found = []
    for start in range(0, len(centres), 512):
        part = np.stack([padded[centre : centre + length] for centre in centres[start : start + 512]]) * weights
        level = 10.0 * np.log10(np.abs(np.fft.rfft(part, n_fft)[:, :bins]) ** 2 + 1e-12)
        mirrored = np.concatenate([level, level[:, -2:0:-1]], axis=1)
        cepstrum = np.abs(np.fft.rfft(mirrored - mirrored.mean(axis=1, keepdims=True), axis=1)[:, :bins])
        power = uniform_filter1d(np.square(cepstrum / mirrored.shape[1]), smooth, axis=1)
        decibels = 10.0 * np.log10(power + 1e-18)
        away = quefrency[line] - quefrency[line].mean()
        middle = decibels[:, line].mean(axis=1)
        slope = (decibels[:, line] @ away) / (away @ away)
        best = inside[decibels[:, inside].argmax(axis=1)]
        trend = middle + slope * (quefrency[best] - quefrency[line].mean())
        found.append(decibels[np.arange(len(part)), best] - trend)
    return np.concatenate(found)
