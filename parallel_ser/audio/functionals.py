"""An utterance as one vector: statistics of its contours, each with a name such as ``mfcc3.delta.p95``.

A contour is a row of the frame features or the slope of one (``.delta``, ``.delta2``). Of each contour:

    mean, std          over the frames
    jump               deviation of the difference between neighbouring frames
    slope              regression slope, per second
    min, max, pN       extremes and percentiles
    voiced.mean …      the same over voiced frames alone, of the rows themselves
    dct1 …             coefficients of the cosine transform over the utterance: the contour's shape, whatever its length
    part1of3.mean …    mean and deviation in equal parts of the utterance

and of the utterance as a whole its ``measures`` (``rhythm``, durations), in the order of their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from parallel_ser.audio.frames import Delta
from parallel_ser.audio.pitch import VOICED_AT
from parallel_ser.audio.rhythm import RHYTHM
from parallel_ser.audio.settings import FunctionalSettings

MEASURES = (
    "duration_s",
    "speech_s",
    "intensity_db",
    "loudness_db",
    *RHYTHM,
)
"""Of the utterance as a whole; signal quality is left out, for it tells the room and not the speaker."""


class Functionals:
    """Vectors of utterances whose frames have the rows ``rows``, ``hop`` seconds apart.

    Attributes:
        names: of the values.

    >>> functionals = Functionals(["pitch"], FunctionalSettings(statistics=("mean", "p50"), dct=0, deltas=0), 0.01)
    >>> functionals.names[:2]
    ['pitch.mean', 'pitch.p50']
    """

    def __init__(self, rows: Sequence[str], settings: FunctionalSettings, hop: float):
        self.rows, self.settings, self.hop = list(rows), settings, hop
        measured = rows_measured(rows)
        self._places = [self.rows.index(name) for name in measured]
        self._voicing = self.rows.index("voicing") if "voicing" in self.rows else None
        contours = [name + suffix for suffix in ("", ".delta", ".delta2")[: settings.deltas + 1] for name in measured]
        names = [f"{contour}.{statistic}" for statistic in settings.statistics for contour in contours]
        if self._voicing is not None:
            names += [f"{name}.voiced.{statistic}" for statistic in settings.voiced for name in measured]
        names += [f"{contour}.dct{number + 1}" for number in range(settings.dct) for contour in contours]
        if settings.segments > 1:
            parts = [f"part{number + 1}of{settings.segments}" for number in range(settings.segments)]
            names += [f"{name}.{part}.{kind}" for part in parts for kind in ("mean", "std") for name in measured]
        if settings.measures:
            names += MEASURES
        self.names: list[str] = names

    def __call__(self, frames: np.ndarray, measures: Mapping[str, float]) -> np.ndarray:
        """The vector (values,), float32, of an utterance: ``frames`` (rows, frames), ``measures`` as extracted."""
        settings = self.settings
        base = frames[self._places].astype(np.float64)
        contours = [base]
        for _ in range(settings.deltas):
            contours.append(slopes(contours[-1]))
        every = np.concatenate(contours)
        values = list(self._statistics(every, settings.statistics))
        if self._voicing is not None:
            voiced = base[:, frames[self._voicing] >= VOICED_AT]
            values += self._statistics(voiced if voiced.shape[1] else base, settings.voiced)
        if settings.dct:
            values += list((every @ _cosines(every.shape[1], settings.dct)).T)
        if settings.segments > 1:
            for part in np.array_split(base, settings.segments, axis=1):
                values += self._statistics(part if part.shape[1] else base, ("mean", "std"))
        vector = np.concatenate(values)
        if settings.measures:
            vector = np.concatenate([vector, [measures[name] for name in MEASURES]])
        return vector.astype(np.float32)

    def _statistics(self, contours: np.ndarray, wanted: Sequence[str]) -> list[np.ndarray]:
        """Each statistic of contours (contours, frames) as (contours,)."""
        levels = [int(name[1:]) for name in wanted if name[0] == "p"]
        percentiles = dict(zip(levels, np.percentile(contours, levels, axis=1), strict=True)) if levels else {}
        return [percentiles[int(name[1:])] if name[0] == "p" else self._statistic(contours, name) for name in wanted]

    def _statistic(self, contours: np.ndarray, name: str) -> np.ndarray:
        count = contours.shape[1]
        match name:
            case "mean":
                return contours.mean(axis=1)
            case "std":
                return contours.std(axis=1)
            case "jump":
                return np.diff(contours, axis=1).std(axis=1) if count > 1 else np.zeros(len(contours))
            case "min":
                return contours.min(axis=1)
            case "max":
                return contours.max(axis=1)
        time = (np.arange(count) - (count - 1) / 2) * self.hop
        return contours @ time / max(float(time @ time), 1e-12)


def rows_measured(rows: Sequence[str]) -> list[str]:
    """The rows that are no slopes of others: slopes are taken of every row alike."""
    return [name for name in rows if ".delta" not in name]


def slopes(contours: np.ndarray) -> np.ndarray:
    """Slope of contours (…, frames) over nine frames, the ends repeated: ``frames.Delta``."""
    sloped: np.ndarray = Delta()(torch.from_numpy(contours)).numpy()
    return sloped


@lru_cache(maxsize=512)
def _cosines(frames: int, count: int) -> np.ndarray:
    """Columns 1 … count of the DCT-II over ``frames`` points, (frames, count), as means: no value grows with length."""
    time = (np.arange(frames) + 0.5) / frames
    return np.cos(np.pi * np.outer(time, np.arange(1, count + 1))) * (np.sqrt(2.0) / frames)
