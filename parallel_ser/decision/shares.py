"""How often each emotion was heard in a recording, and how often it occurred, given what a classifier confuses.

A classifier that takes a tenth of the neutral speech for sad hears sadness where there is none. With the confusion
matrix of its test, the shares that make what was heard most likely can be found (Saerens et al. 2002, "Adjusting the
Outputs of a Classifier to New a Priori Probabilities", on counts: a mixture of the matrix's rows, by expectation
maximisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 8
"""Segments that are drawn together: neighbours are alike."""
RESAMPLES = 400
LEAST = 10
"""Fewer segments than this are given no interval."""


@dataclass(frozen=True)
class Share:
    """Of one emotion, as shares of the segments from 0 to 1.

    Attributes:
        emotion: its name.
        raw: share of the segments in which it was heard.
        raw_interval: of 95%; None where there are few segments.
        corrected: share, given the known confusions; None where none are known.
        corrected_interval: likewise.
    """

    emotion: str
    raw: float
    raw_interval: tuple[float, float] | None
    corrected: float | None
    corrected_interval: tuple[float, float] | None


def shares(
    heard: np.ndarray, weights: np.ndarray, classes: Sequence[str], confusion: np.ndarray | None, seed: int = 0
) -> list[Share]:
    """Shares of the emotions in a recording.

    Intervals are percentiles over resamples of blocks of neighbouring segments; the rows of the confusion matrix are
    drawn anew with each, from the Dirichlet distribution of their counts. They hold the error of sampling alone: that
    this person is confused as the test's speakers were is assumed.

    Args:
        heard: the column of the emotion heard in each segment, in the order of time, ``(segments,)``.
        weights: seconds of each.
        classes: names of the columns.
        confusion: counts of the test, truth by predicted, ``(classes, classes)``.
        seed: of the resamples.
    """
    count = len(classes)
    if not len(heard):
        return []
    known = confusion is not None and bool((np.asarray(confusion).sum(axis=1) > 0).all())
    matrix = np.asarray(confusion, dtype=float) if known else None
    raw = _weighted(heard, weights, count)
    corrected = unmixed(raw, _rows(matrix)) if matrix is not None else None
    draws = undone = np.zeros((0, count))
    if len(heard) >= LEAST:
        rng = np.random.default_rng(seed)
        places = [resampled(len(heard), rng) for _ in range(RESAMPLES)]
        draws = np.stack([_weighted(heard[own], weights[own], count) for own in places])
        if matrix is not None:
            drawn = [rng.dirichlet(row + 0.5, RESAMPLES) for row in matrix]
            undone = unmixed(draws, np.stack(drawn, axis=1))
    lows, highs = _interval(draws)
    low, high = _interval(undone)
    return [
        Share(
            emotion=name,
            raw=float(raw[place]),
            raw_interval=(lows[place], highs[place]) if len(draws) else None,
            corrected=None if corrected is None else float(corrected[place]),
            corrected_interval=(low[place], high[place]) if len(undone) else None,
        )
        for place, name in enumerate(classes)
    ]


def mean(values: np.ndarray, weights: np.ndarray, seed: int = 0) -> dict[str, float | None]:
    """Weighted mean of values ``(segments,)`` in the order of time: ``value``, ``low`` and ``high``, as of shares."""
    found: dict[str, float | None] = {"value": float(np.average(values, weights=weights)), "low": None, "high": None}
    if len(values) >= LEAST:
        rng = np.random.default_rng(seed)
        places = [resampled(len(values), rng) for _ in range(RESAMPLES)]
        draws = [np.average(values[own], weights=weights[own]) for own in places]
        found["low"], found["high"] = (float(part) for part in np.percentile(draws, [2.5, 97.5]))
    return found


def unmixed(heard: np.ndarray, rows: np.ndarray, steps: int = 300) -> np.ndarray:
    """The shares ``(…, classes)`` of which ``rows`` make what was ``heard`` most likely.

    Args:
        heard: shares of what was predicted, ``(…, classes)``.
        rows: of each truth the probability of each prediction, ``(…, classes, classes)``.
        steps: of expectation maximisation.

    >>> unmixed(np.array([0.6, 0.4]), np.array([[0.9, 0.1], [0.3, 0.7]])).round(3).tolist()
    [0.5, 0.5]
    """
    found = np.full(heard.shape, 1.0 / heard.shape[-1])
    for _ in range(steps):
        mixed = np.einsum("...i,...ij->...j", found, rows)
        step = found * np.einsum("...ij,...j->...i", rows, heard / np.maximum(mixed, 1e-12))
        step /= step.sum(axis=-1, keepdims=True)
        if np.abs(step - found).max() < 1e-6:
            return step
        found = step
    return found


def _rows(confusion: np.ndarray) -> np.ndarray:
    """Counts as the probability of each prediction, half a count more in each cell."""
    smoothed = confusion + 0.5
    found: np.ndarray = smoothed / smoothed.sum(axis=1, keepdims=True)
    return found


def _weighted(heard: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    total = np.bincount(heard, weights, minlength=count)
    found: np.ndarray = total / total.sum()
    return found


def resampled(count: int, rng: np.random.Generator) -> np.ndarray:
    """As many places, in blocks of neighbours (circular block bootstrap, Politis & Romano 1992)."""
    length = min(BLOCK, max(1, count // 5))
    starts = rng.integers(0, count, -(-count // length))
    places: np.ndarray = ((starts[:, None] + np.arange(length)) % count).ravel()[:count]
    return places


def _interval(draws: np.ndarray) -> tuple[list[float], list[float]]:
    if not len(draws):
        return [], []
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return low.tolist(), high.tolist()
