"""How unlike its training recordings a stretch of sound is to a run: a Mahalanobis distance of its features.

An utterance is described by the mean of each row of its frames (less its level, so that gain alone is nothing new) and
by its deviation over time. The distance is 1 where 99 of 100 training utterances are nearer, as measured on speakers
that had no part in the mean and the covariance (Lee et al. 2018, "A Simple Unified Framework for Detecting
Out-of-Distribution Samples", on features instead of activations).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from parallel_ser.errors import UserError
from parallel_ser.system import digests
from parallel_ser.system.files import write_atomic
from parallel_ser.training.data import Dataset, count_bands

FILE = "novelty.npz"
_PARTS = 5
_LEVELS = ("loudness", "intensity", "mfcc0")  # rows whose mean moves with the gain
_LEAST = 20
"""Fewer utterances than this say nothing of others."""


@dataclass(frozen=True)
class Novelty:
    """Distances from a run's training recordings.

    Attributes:
        mean: ``(values,)``.
        whitening: ``(values, values)``; the squared length of a whitened difference is the squared distance.
        limit: distance that counts as 1.
    """

    mean: np.ndarray
    whitening: np.ndarray
    limit: float

    def __call__(self, described: np.ndarray) -> np.ndarray:
        """Of each row of ``described`` ``(utterances, values)`` the distance, in units of the limit."""
        away = (described - self.mean) @ self.whitening.T
        distance: np.ndarray = np.sqrt(np.square(away).mean(axis=1)) / self.limit
        return distance


def describe(frames: Sequence[np.ndarray], rows: Sequence[str]) -> np.ndarray:
    """Utterances ``(rows, frames)`` as vectors ``(utterances, values)``."""
    bands, levels = count_bands(rows), [place for place, name in enumerate(rows) if name in _LEVELS]
    found = np.empty((len(frames), 2 * len(rows)))
    for place, one in enumerate(frames):
        mean, deviation = one.mean(axis=1, dtype=np.float64), one.std(axis=1, dtype=np.float64)
        if bands:
            mean[:bands] -= mean[:bands].mean()
        mean[levels] = 0.0
        found[place] = np.concatenate([mean, deviation])
    return found


def fit(described: np.ndarray, groups: Sequence[str]) -> Novelty:
    """Of training utterances ``(utterances, values)`` and their speakers."""
    names = sorted(set(groups))
    part = np.array([names.index(one) % _PARTS for one in groups])
    distances = [
        _fitted(described[part != own], 1.0)(described[part == own])
        for own in sorted(set(part.tolist()))
        if (part != own).sum() >= _LEAST
    ]
    limit = float(np.percentile(np.concatenate(distances), 99)) if distances else 1.0
    return _fitted(described, max(limit, 1e-6))


def _fitted(described: np.ndarray, limit: float) -> Novelty:
    from sklearn.covariance import ledoit_wolf

    mean, scale = described.mean(axis=0), np.maximum(described.std(axis=0), 1e-3)
    covariance, _ = ledoit_wolf((described - mean) / scale)
    values, vectors = np.linalg.eigh(covariance)
    whitening = (vectors / np.sqrt(np.maximum(values, 1e-3))).T / scale
    return Novelty(mean, whitening, limit)


def write(folder: Path, data: Dataset, trained: Sequence[int]) -> None:
    """Store of a run what its training utterances, at ``trained``, are like; nothing where they are few."""
    if len(trained) < 2 * _LEAST:
        return
    found = fit(describe([data.frames[index] for index in trained], data.rows), data.speakers(trained))

    def packed(file: BinaryIO) -> None:
        arrays = [one.astype(np.float32) for one in (found.mean, found.whitening, np.array(found.limit))]
        np.savez(file, mean=arrays[0], whitening=arrays[1], limit=arrays[2])
        digests.seal(file)

    write_atomic(folder / FILE, packed)


def read(folder: Path) -> Novelty | None:
    """Of a run; None of one that was trained before there was this, or on few utterances.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with digests.sealed(path) as file:
        try:
            stored = np.load(file, allow_pickle=False)
            arrays = {name: stored[name].astype(np.float64) for name in ("mean", "whitening", "limit")}
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"{path} does not hold what training writes: {error}.") from error
    return Novelty(arrays["mean"], arrays["whitening"], float(arrays["limit"]))
