"""A recording in one pass: where speech is, its segments with their sound, and its envelope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parallel_ser.analysis.segments import Segmenter, Span
from parallel_ser.audio.quality import decibels
from parallel_ser.audio.stream import Resampler, mono_blocks
from parallel_ser.audio.vad import FRAME, RATE, Method, voice_activity

CONTEXT = 0.5
"""Seconds around a segment that are heard for the noise behind it."""


@dataclass(frozen=True)
class Heard:
    """A segment with its sound.

    Attributes:
        span: where it lies.
        signal: (samples,).
        around: the same with up to half a second before and after.
    """

    span: Span
    signal: np.ndarray
    around: np.ndarray


@dataclass
class Listener:
    """Reads a recording once.

    Attributes:
        path: of the recording.
        rate: in Hz, of the segments' sound.
        method: of voice activity.
        seconds: of the recording, as far as it was read.
        envelope: highest magnitude of each 32 ms, in parts of 255, one array a block.
    """

    path: Path
    rate: int
    method: Method
    seconds: float = 0.0
    envelope: list[np.ndarray] = field(default_factory=list)

    def __call__(self, progress: Callable[[float], None] | None = None) -> Iterator[Heard]:
        """Its segments, in order; ``progress`` is told the seconds read.

        Raises:
            UserError: the file cannot be read.
        """
        activity, segmenter = voice_activity(self.method), Segmenter(FRAME / RATE)
        resampler, tail = Resampler(self.rate, RATE), np.zeros(0, np.float32)
        buffer, start = np.zeros(0, np.float32), 0  # sound not yet done with, and its first sample
        waiting: list[Span] = []
        for block, last in _marked(mono_blocks(self.path, self.rate)):
            self.seconds += len(block) / self.rate
            buffer = np.concatenate([buffer, block])
            slow = np.concatenate([tail, resampler(block, last)])
            whole = len(slow) if last else len(slow) // FRAME * FRAME
            frames, tail = slow[:whole], slow[whole:]
            levels, peaks = _framed(frames)
            self.envelope.append(peaks)
            waiting += segmenter(activity(frames, last), levels)
            if last:
                waiting += segmenter.flush()
            kept = []
            for span in waiting:
                if last or span.end + CONTEXT <= self.seconds:
                    yield self._cut(span, buffer, start)
                else:
                    kept.append(span)
            waiting = kept
            first = min([segmenter.needed, *(span.start for span in waiting)]) - CONTEXT
            drop = min(max(0, int(first * self.rate) - start), len(buffer))
            buffer, start = buffer[drop:], start + drop
            if progress:
                progress(self.seconds)

    def _cut(self, span: Span, buffer: np.ndarray, start: int) -> Heard:
        def part(low: float, high: float) -> np.ndarray:
            first = max(0, round(low * self.rate) - start)
            return buffer[first : max(first, round(high * self.rate) - start)].copy()

        end = min(span.end, self.seconds)
        span = Span(span.start, end, tuple((low, min(high, end)) for low, high in span.regions))
        return Heard(span, part(span.start, end), part(span.start - CONTEXT, end + CONTEXT))


def _marked(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Each block, and whether it is the last one."""
    before: np.ndarray | None = None
    for block in blocks:
        if before is not None:
            yield before, False
        before = block
    if before is not None:
        yield before, True


def _framed(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level in dB and highest magnitude, 0 to 255, of each frame of 32 ms, the last one filled up."""
    count = -(-len(signal) // FRAME)
    frames = np.pad(signal, (0, count * FRAME - len(signal))).reshape(count, FRAME)
    peaks = np.clip(np.abs(frames).max(axis=1, initial=0.0) * 255.0, 0.0, 255.0)
    return decibels(frames.astype(np.float64).var(axis=1)), np.ceil(peaks).astype(np.uint8)
