"""Speaker normalisation of vectors and frames, as an explicit choice of where the statistics come from.

    none      nowhere: values as they are
    train     the training speakers
    speaker   the speaker's own utterances at hand, unlabelled (transductive: those that are tested)
    enrol     ``count`` other unlabelled utterances of the speaker, as a deployment would have

Under ``enrol`` an utterance never takes part in its own statistics: ``count`` utterances of a speaker are drawn, and
those that were drawn have the statistics of a second draw; of a speaker too poor for two draws, each utterance has one
of its own. Training speakers have all of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parallel_ser.classical.sample import Frames

Mode = Literal["none", "train", "speaker", "enrol"]

PRIOR = 3.0
"""Utterances that the training speakers' statistics count for beside an enrolment's."""

_FLOOR = 1e-6  # of a deviation: a value that never varies stays finite


@dataclass(frozen=True)
class Reference:
    """Utterances that share their statistics: ``members`` are standardised by ``sources``; both are indices."""

    members: np.ndarray
    sources: np.ndarray


def references(speakers: np.ndarray, count: int = 0, seed: int = 0) -> list[Reference]:
    """Whose statistics standardise whom: each speaker's all, or with ``count`` those of as many others' draw.

    A speaker with fewer than ``count`` other utterances has the statistics of those there are; with none, of itself.
    """
    every = []
    for number, speaker in enumerate(np.unique(speakers)):
        own = np.flatnonzero(speakers == speaker)
        if not count or len(own) < 2:
            every.append(Reference(own, own))
            continue
        drawn = np.random.default_rng([seed, number]).permutation(own)
        first, second = drawn[:count], drawn[count:][:count]
        if len(second) == count:
            every += [Reference(drawn[count:], first), Reference(first, second)]
        else:
            alone = range(len(drawn))
            every += [Reference(drawn[place : place + 1], np.delete(drawn, place)[:count]) for place in alone]
    return every


class Standardiser:
    """Values to zero mean and unit deviation.

    Args:
        mode: see the module.
        count: utterances of an enrolment.
        seed: of the draw.
        scale: divide by the deviation, too.
        prior: under ``enrol``, for how many utterances the training speakers' statistics count beside those of the
            speaker: few utterances say little, above all of a deviation.
    """

    def __init__(self, mode: Mode, count: int = 10, seed: int = 0, scale: bool = True, prior: float = PRIOR):
        self.mode, self.count, self.seed, self.scale, self.prior = mode, count, seed, scale, prior

    def fit(self, values: np.ndarray | Frames, speakers: np.ndarray) -> Standardiser:
        """Learn the training speakers' statistics, where they are used; under ``enrol`` those within a speaker."""
        if self.mode == "train":
            self.mean_, self.deviation_ = self._statistics(values, np.arange(len(values)))
        elif self.mode == "enrol":
            own = [self._statistics(values, one.sources) for one in references(speakers)]
            self.mean_ = np.mean([mean for mean, _ in own], axis=0)
            self.deviation_ = np.sqrt(np.mean([deviation**2 for _, deviation in own], axis=0))
        return self

    def state(self) -> dict[str, np.ndarray]:
        """What ``fit`` learned, by name."""
        names = ("mean_", "deviation_")
        return {name: np.asarray(getattr(self, name)) for name in names if hasattr(self, name)}

    def restore(self, state: Mapping[str, np.ndarray]) -> Standardiser:
        """As if fitted to what gave ``state``."""
        for name, value in state.items():
            setattr(self, name, value)
        return self

    def training(self, values: np.ndarray | Frames, speakers: np.ndarray) -> np.ndarray | Frames:
        """Values of training utterances, standardised; of a training speaker all utterances are at hand."""
        return self._apply(values, speakers, 0)

    def __call__(self, values: np.ndarray | Frames, speakers: np.ndarray) -> np.ndarray | Frames:
        """Values of tested utterances, standardised: vectors (utterances, values), or frames."""
        return self._apply(values, speakers, self.count if self.mode == "enrol" else 0)

    def _apply(self, values: np.ndarray | Frames, speakers: np.ndarray, count: int) -> np.ndarray | Frames:
        if self.mode == "none":
            return values
        if self.mode == "train":
            statistics = [(np.arange(len(values)), self.mean_, self.deviation_)]
        else:
            statistics = [
                (one.members, *self._own(values, one.sources, count)) for one in references(speakers, count, self.seed)
            ]
        return standardise(values, statistics)

    def _own(self, values: np.ndarray | Frames, sources: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """A speaker's mean and deviation; of an enrolment, drawn to those of the training speakers."""
        mean, deviation = self._statistics(values, sources)
        if not count:
            return mean, deviation
        share = len(sources) / (len(sources) + self.prior)
        variance = share * deviation**2 + (1.0 - share) * self.deviation_**2
        return share * mean + (1.0 - share) * self.mean_, np.sqrt(variance)

    def _statistics(self, values: np.ndarray | Frames, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (values,) over utterances, or over all their frames, in double precision."""
        if isinstance(values, Frames):
            used = np.concatenate([values[index] for index in indices])
        else:
            used = values[indices]
        mean = used.mean(axis=0, dtype=np.float64)
        if not self.scale or len(used) < 2:
            return mean, np.ones_like(mean)
        return mean, np.maximum(used.std(axis=0, dtype=np.float64), _FLOOR)


def standardise(
    values: np.ndarray | Frames, statistics: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> np.ndarray | Frames:
    """Values less the mean over the deviation, for each (members, mean, deviation)."""
    if isinstance(values, Frames):
        parts: list[np.ndarray] = [np.empty(0)] * len(values)
        for members, mean, deviation in statistics:
            for index in members:
                parts[index] = ((values[index] - mean) / deviation).astype(np.float32)
        return Frames.join(parts)
    result = np.empty(values.shape, dtype=np.float64)
    for members, mean, deviation in statistics:
        result[members] = (values[members] - mean) / deviation
    return result
