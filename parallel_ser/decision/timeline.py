"""From the probabilities of segments that follow each other to a timeline: smoothing, arousal and valence."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

WIDTH = 5.0
"""Seconds: the standard deviation of the kernel that smooths over time."""

AROUSAL = MappingProxyType(
    {
        "anger": 1, "fear": 1, "joy": 1, "surprise": 1, "excitement": 1, "frustration": 1,
        "disgust": 0, "contempt": 0, "neutral": 0, "other": 0,
        "calm": -1, "sadness": -1, "boredom": -1,
    }
)  # fmt: skip
"""Of each emotion its side of the circumplex (Russell 1980): 1 is activated, -1 deactivated."""

VALENCE = MappingProxyType(
    {
        "joy": 1, "excitement": 1, "calm": 1,
        "surprise": 0, "neutral": 0, "other": 0,
        "anger": -1, "fear": -1, "sadness": -1, "disgust": -1, "contempt": -1, "frustration": -1, "boredom": -1,
    }
)  # fmt: skip
"""Likewise: 1 is pleasant, -1 unpleasant."""


def sides_of(emotion: str) -> tuple[int, int]:
    """Arousal and valence that an emotion, by its canonical word, counts as; 0 where the tables do not hold it."""
    return AROUSAL.get(emotion, 0), VALENCE.get(emotion, 0)


def smoothed(
    probabilities: np.ndarray, times: Sequence[float], seconds: Sequence[float], width: float = WIDTH
) -> np.ndarray:
    """Each row's mean with its neighbours in time, weighted by a Gaussian kernel and their length.

    Args:
        probabilities: ``(segments, classes)``, in the order of time.
        times: the middle of each segment, in seconds.
        seconds: the length of each.
        width: the kernel's standard deviation in seconds; 0 smooths nothing. It ends at three of them.

    >>> smoothed(np.eye(2), [0.0, 100.0], [1.0, 1.0]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if width <= 0.0 or not len(probabilities):
        return probabilities.copy()
    time, length = np.asarray(times), np.asarray(seconds)
    first = np.searchsorted(time, time - 3.0 * width)
    last = np.searchsorted(time, time + 3.0 * width, side="right")
    found = np.empty_like(probabilities)
    for row, (start, stop) in enumerate(zip(first, last, strict=True)):
        weights = length[start:stop] * np.exp(-0.5 * ((time[start:stop] - time[row]) / width) ** 2)
        found[row] = weights @ probabilities[start:stop] / weights.sum()
    return found


def dimensions(probabilities: np.ndarray, emotions: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Expected arousal and valence ``(segments,)``, each from -1 to 1.

    Args:
        probabilities: ``(segments, classes)``.
        emotions: the canonical word of each class; None, and what the tables do not hold, counts as 0.
    """
    sides = np.array([sides_of(name or "") for name in emotions], dtype=float)
    return probabilities @ sides[:, 0], probabilities @ sides[:, 1]
