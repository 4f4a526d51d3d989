"""A recording of any length as mono blocks at one rate, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parallel_ser.audio.load import mono
from parallel_ser.corpora.content import blocks

SECONDS = 20.0
"""Of a block as it is decoded."""


class Resampler:
    """Blocks of a mono signal from one rate to another; joined they are as long as the signal, without delay."""

    def __init__(self, rate: int, sample_rate: int):
        import soxr

        same = rate == sample_rate
        self._stream = None if same else soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """What can be said by now of a block (samples,), at the other rate."""
        if self._stream is None:
            return block
        return np.asarray(self._stream.resample_chunk(block, last=last), dtype=np.float32).reshape(-1)


def mono_blocks(path: Path, sample_rate: int, seconds: float = SECONDS) -> Iterator[np.ndarray]:
    """Mono signal (samples,) at ``sample_rate`` Hz in blocks of about ``seconds``.

    Raises:
        UserError: the file cannot be read, see ``load.load``; where it breaks off, after what is there of it.
    """
    resampler: Resampler | None = None
    for samples, rate in blocks(path, seconds):
        resampler = resampler or Resampler(rate, sample_rate)
        block = resampler(mono(samples, rate, rate, str(path)))
        if len(block):
            yield block
    if resampler is not None and len(rest := resampler(np.zeros(0, np.float32), last=True)):
        yield rest
