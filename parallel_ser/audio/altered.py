"""Copies of recordings as another microphone, room or cut would have given them, and the features of such copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from parallel_ser.audio.augment import add_noise, filtered, gain, narrowed, speed
from parallel_ser.audio.extract import Features, attempted, identify, read
from parallel_ser.audio.settings import AudioSettings
from parallel_ser.errors import UserError
from parallel_ser.settings import Settings

VERSION = 1
CUT = 0.05
"""Seconds that are cut off at each end at the most."""
LOW = (20.0, 100.0)
"""Hz; where a first-order high-pass filter begins."""


class AlterationSettings(Settings):
    """How far a copy may be from its recording.

    ``noise``: lowest signal-to-noise ratio of white noise (dB, up to 40); nothing adds none.
    ``gain``: how much louder or softer (dB).
    ``speed``: share by which it lasts longer, and is lower, or shorter and higher.
    ``band``: the lowest that the upper end of the band may be (Hz), alike in each octave; nothing leaves the band.
    """

    noise: float | None = None
    gain: float = 0.0
    speed: float = 0.0
    band: float | None = None


@dataclass(frozen=True)
class Copy:
    """Which altered copy of a recording.

    Attributes:
        number: of the copy.
        alike: altered as the copy of that number of every recording is; else each recording by a draw of its samples.
    """

    number: int
    alike: bool = False


class SignalExtractor(Protocol):
    """What makes features of signals: ``Extractor``, or a frozen encoder. It must travel to another process."""

    key: str
    audio: AudioSettings

    def signals(self, signals: Sequence[np.ndarray]) -> Iterator[Features | UserError]:
        """Features of mono signals (samples,) at ``audio.sample_rate``, or why one has none."""


def altered(signal: np.ndarray, rate: int, rng: np.random.Generator, settings: AlterationSettings) -> np.ndarray:
    """A signal (samples,) cut at both ends, filtered, with noise, at another speed and level, of the same type.

    >>> loud = altered(np.ones(16000, np.float32), 16000, np.random.default_rng(0), AlterationSettings(gain=6.0))
    >>> 14400 <= len(loud) <= 16000
    True
    """
    ends = np.minimum(rng.integers(0, int(CUT * rate) + 1, 2), len(signal) // 4)
    made = filtered(signal[ends[0] : len(signal) - ends[1]], rate, rng.uniform(*LOW), "highpass")
    if settings.speed:
        made = speed(made, round(len(made) * rng.uniform(1.0 - settings.speed, 1.0 + settings.speed)))
    if settings.band is not None and 2 * settings.band < rate:
        made = narrowed(made, rate, round(float(np.exp(rng.uniform(np.log(2 * settings.band), np.log(rate))))))
    if settings.noise is not None:
        made = add_noise(made, rng, settings.noise)
    return gain(made, rng, settings.gain) if settings.gain else made


class AlteredExtractor:
    """Features of a copy of each recording; how it is altered is decided by ``copy`` and perhaps its samples alone.

    Attributes:
        key: hash of all that decides what comes out of the same audio.
    """

    def __init__(self, inner: SignalExtractor, settings: AlterationSettings, copy: Copy):
        self.inner, self.settings, self.copy = inner, settings, copy
        described = f"{VERSION}\n{inner.key}\n{settings.model_dump_json()}\n{copy.number}{' alike' * copy.alike}"
        self.key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., AlteredExtractor], tuple[SignalExtractor, AlterationSettings, Copy]]:
        return AlteredExtractor, (self.inner, self.settings, self.copy)

    def file(self, path: Path) -> Features:
        """Features of a file's copy.

        Raises:
            UserError: the file cannot be read, or its copy has no features.
        """
        signal, identity = read(path, self.inner.audio)
        made = next(self.inner.signals([self._altered(signal, identity)]))
        if isinstance(made, UserError):
            raise made
        return made

    def signals(self, signals: Sequence[np.ndarray]) -> Iterator[Features | UserError]:
        """Of the copy of each signal (samples,) at ``audio.sample_rate``, or why it has none."""
        return self.inner.signals([self._altered(one, identify(one)) for one in signals])

    def files(self, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        """Of each file's copy, or why it has none."""
        return attempted(self.file, paths)

    def _altered(self, signal: np.ndarray, identity: str) -> np.ndarray:
        rng = np.random.default_rng([self.copy.number, *(b"" if self.copy.alike else identity.encode())])
        return altered(signal, self.inner.audio.sample_rate, rng, self.settings)
