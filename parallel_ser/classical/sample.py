"""Utterances as classical systems see them: vectors, frames, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of many utterances in one array, which may lie in a file (memory-mapped) that processes share.

    Attributes:
        rows: (all frames, values), one utterance's after the other's.
        bounds: (utterances, 2), where each begins and ends.
    """

    rows: np.ndarray
    bounds: np.ndarray

    @classmethod
    def join(cls, utterances: Sequence[np.ndarray]) -> Frames:
        """Of utterances (frames, values) each."""
        ends = np.cumsum([len(one) for one in utterances])
        return cls(np.concatenate(utterances), np.stack([np.append(0, ends[:-1]), ends], axis=1))

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: int) -> np.ndarray:
        """Frames (frames, values) of one utterance."""
        start, end = self.bounds[index]
        return self.rows[start:end]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def take(self, indices: np.ndarray) -> Frames:
        """The utterances at ``indices``; the rows are not copied."""
        return Frames(self.rows, self.bounds[indices])


View = np.ndarray | Frames
"""One description of all utterances: vectors (utterances, values), or frames."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Utterances in each view, with their speakers.

    Attributes:
        views: by name, all of the same utterances.
        speakers: of each utterance, (utterances,).
    """

    views: Mapping[str, View]
    speakers: np.ndarray

    def __len__(self) -> int:
        return len(self.speakers)

    def take(self, indices: Sequence[int] | np.ndarray) -> Sample:
        """The utterances at ``indices``."""
        places = np.asarray(indices, dtype=np.int64)
        views = {
            name: view.take(places) if isinstance(view, Frames) else view[places] for name, view in self.views.items()
        }
        return Sample(views, self.speakers[places])

    def only(self, names: Sequence[str]) -> Sample:
        """The views of these names alone."""
        return Sample({name: self.views[name] for name in names}, self.speakers)

    @classmethod
    def join(cls, samples: Sequence[Sample]) -> Sample:
        """The utterances of samples of the same views, one sample's after the other's."""
        if len(samples) == 1:
            return samples[0]
        views: dict[str, View] = {}
        for name in samples[0].views:
            parts = [sample.views[name] for sample in samples]
            frames = [one for part in parts if isinstance(part, Frames) for one in part]
            views[name] = Frames.join(frames) if frames else np.concatenate([np.asarray(part) for part in parts])
        return cls(views, np.concatenate([sample.speakers for sample in samples]))
