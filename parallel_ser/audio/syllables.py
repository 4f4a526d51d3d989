"""Syllables, speech and pauses of a stretch of speech, for rates per second.

The method of de Jong & Wempe 2009 (Behavior Research Methods 41, 385-390): voiced peaks of intensity that stand out of
the dips beside them. ``rhythm`` has a relative for a classifier, on the classifier's own pitch.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

DIP = 2.0
"""Decibels that a syllable stands out of the dip behind it."""
SILENCE = 25.0
"""Decibels below the 99th percentile of intensity at which silence begins."""

VOICED = 0.6
"""Voicing, within a frame of a peak, from which that is a syllable."""

_WINDOW = 0.064  # s; 3.2 periods of 50 Hz
_HOP = 0.016  # s; 0.8 periods of 50 Hz


def contour(signal: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Intensity in dB re full scale and its times in seconds, both (frames,).

    Praat's "To Intensity" for a pitch of at least 50 Hz: the mean square under a Kaiser window (β = 20) of twice 64 ms.
    Only whole windows count, so that a signal of less than 128 ms has one frame.
    """
    half = round(_WINDOW * rate)
    weights = _kaiser(2 * half + 1)
    step = _HOP * rate
    frames = max(1, math.floor((len(signal) - 2 * half) / step) + 1)
    first = 0.5 * (len(signal) - 1 - (frames - 1) * step)
    centres = first + np.arange(frames) * step
    padded = np.pad(np.asarray(signal, np.float64), half + 1)
    rows = np.rint(centres).astype(int) + 1
    weights = weights / weights.sum()
    means, squares = (
        np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1)[rows] @ weights
        for values in (padded, padded * padded)
    )
    power = squares - means * means
    return 10.0 * np.log10(np.maximum(power, 1e-14)), centres / rate


def syllables(signal: np.ndarray, rate: int, voicing: np.ndarray, hop: float) -> int:
    """Count the syllables in a stretch of speech (samples,).

    Args:
        signal: (samples,).
        rate: in Hz.
        voicing: from 0 to 1 (frames,), see ``pitch.Pitch``.
        hop: seconds between its frames.
    """
    level, times = contour(signal, rate)
    if len(level) < 3:
        return 0
    threshold = max(float(np.quantile(level, 0.99)) - SILENCE, float(level.min()))
    inner = level[1:-1]
    peaks = np.flatnonzero((inner > level[:-2]) & (inner >= level[2:])) + 1
    peaks = peaks[level[peaks] > threshold]
    count = 0
    for place, peak in enumerate(peaks):
        if place + 1 < len(peaks):
            dip = float(level[peak : peaks[place + 1]].min())
            if level[peak] - dip <= DIP:
                continue
        frame = min(round(times[peak] / hop), len(voicing) - 1)
        count += bool(voicing[max(0, frame - 1) : frame + 2].max() >= VOICED)
    return count


@lru_cache(maxsize=8)
def _kaiser(length: int) -> np.ndarray:
    """A Kaiser window with the side lobes of Praat's."""
    return np.kaiser(length, 2.0 * math.pi * math.pi + 0.5)
