"""One vector an utterance, of its preprocessed signal, where a library or a network measures the whole of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from parallel_ser.audio.extract import Features, attempted, read
from parallel_ser.audio.frames import window_samples
from parallel_ser.audio.preprocess import preprocess
from parallel_ser.audio.settings import AudioSettings
from parallel_ser.errors import UserError

_HOP = 0.010  # s, of the silence that is cut


class VectorExtractor(ABC):
    """Values of files and signals as ``Features.frames`` of ``(values, 1)``; it must travel to another process.

    Attributes:
        audio: how a signal is preprocessed.
        names: of the values.
        key: hash of all that decides the values.
    """

    audio: AudioSettings
    names: list[str]
    key: str

    @abstractmethod
    def values(self, signal: np.ndarray) -> np.ndarray:
        """Of a preprocessed signal (samples,) at ``audio.sample_rate``, (values,)."""

    def file(self, path: Path) -> Features:
        """Of an audio file.

        Raises:
            UserError: as ``Extractor.file``.
        """
        return self._of(*read(path, self.audio), str(path))

    def files(self, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        """What ``file`` gives of each, or the error that it raises."""
        return attempted(self.file, paths)

    def signals(self, signals: Sequence[np.ndarray]) -> Iterator[Features | UserError]:
        """The same of mono signals (samples,) at ``audio.sample_rate``."""
        return attempted(lambda signal: self._of(signal, "", "the signal"), signals)

    def _of(self, signal: np.ndarray, audio_id: str, name: str) -> Features:
        rate = self.audio.sample_rate
        values = self.values(preprocess(signal, self.audio, window_samples(_HOP, rate), name).signal)
        return Features(values.astype(np.float32)[:, None], {"duration_s": len(signal) / rate}, audio_id)
