"""From a file or a signal to its features: load, measure the original, preprocess, measure every frame."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from parallel_ser.audio.fingerprint import fingerprint
from parallel_ser.audio.frames import FrameFeatures, intensity, loudness, window_samples
from parallel_ser.audio.load import mono
from parallel_ser.audio.preprocess import Processed, check_duration, preprocess
from parallel_ser.audio.quality import bandwidth
from parallel_ser.audio.rhythm import rhythm
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.corpora.content import audio_id as identify
from parallel_ser.corpora.content import decode
from parallel_ser.errors import UserError

EXTRACTOR_VERSION = 7
"""Counts changes to what the same settings compute, so that old cache entries are not taken for new ones."""

_TOGETHER = 16  # files that go through a part of the front end, so that their signals stay in the processor's cache

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Features:
    """What is measured of one utterance.

    Attributes:
        frames: (rows, frames), float32.
        measures: of the whole utterance, on the original signal: ``duration_s``, ``speech_s`` (not silent),
            ``snr_db``, ``band_hz`` (``quality.bandwidth``), ``denoised`` (0 or 1), ``intensity_db`` and
            ``loudness_db`` (energy means over what is not silent), and ``rhythm``'s (voiced is what is so without the
            noise, where that was removed).
        audio_id: identity of the decoded audio (``corpora.content.audio_id``); empty when unknown.
        fingerprint: of the original signal, see ``audio.fingerprint``; empty when unknown.
    """

    frames: np.ndarray
    measures: dict[str, float]
    audio_id: str
    fingerprint: bytes = b""


@dataclass(frozen=True)
class _Recording:
    """A signal (samples,), the identity of its audio, and the signal preprocessed."""

    signal: np.ndarray
    audio_id: str
    processed: Processed


class Extractor:
    """Features under one choice of settings; the same signal gives the same features to the bit.

    Attributes:
        names: of the rows of ``Features.frames``.
        key: hash of all that decides what comes out of the same audio.

    Raises:
        UserError: the features do not fit the sample rate.

    >>> extractor = Extractor(AudioSettings(), FeatureSettings(streams=("logmel", "intensity")))
    >>> time = np.arange(8000) / 16000
    >>> extractor(np.sin(2 * np.pi * 440 * time).astype(np.float32)).frames.shape
    (65, 51)
    """

    def __init__(self, audio: AudioSettings, features: FeatureSettings):
        if features.f_max > audio.sample_rate / 2:
            raise UserError(
                f"features.f_max={features.f_max:g} Hz is above half of audio.sample_rate={audio.sample_rate}; "
                f"use features.f_max={audio.sample_rate / 2:g} or a higher sample rate."
            )
        self.audio, self.features = audio, features
        self._measure = FrameFeatures(audio, features)
        self.names: list[str] = self._measure.names
        measured = features.model_dump_json(exclude={"encoder"})  # which is none of these
        described = f"{EXTRACTOR_VERSION}\n{audio.model_dump_json()}\n{measured}"
        self.key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def __call__(self, signal: np.ndarray, audio_id: str = "", name: str = "the signal") -> Features:
        """Features of a mono signal (samples,) at ``audio.sample_rate``; errors begin with ``name``.

        Raises:
            UserError: the signal is too short, too long, or silent.
        """
        return self._measured([self._prepared(signal, audio_id, name)])[0]

    def file(self, path: Path) -> Features:
        """Features of an audio file of any rate and channel count.

        Raises:
            UserError: the file cannot be read (see ``load``), or as for a signal; it names the file.
        """
        return self(*read(path, self.audio), str(path))

    def files(self, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        """What ``file`` gives of each, to the bit, or the error that it raises.

        Files go through the parts of the front end some at a time, which takes a sixth less than one after the other: a
        part finds its code and its tables in the processor's cache.
        """

        return self._each(lambda path: self._prepared(*read(path, self.audio), str(path)), paths)

    def signals(self, signals: Sequence[np.ndarray]) -> Iterator[Features | UserError]:
        """The same of mono signals (samples,) at ``audio.sample_rate``."""
        return self._each(lambda signal: self._prepared(signal, "", "the signal"), signals)

    def _each(self, prepare: Callable[[S], _Recording], items: Sequence[S]) -> Iterator[Features | UserError]:
        for start in range(0, len(items), _TOGETHER):
            found = list(attempted(prepare, items[start : start + _TOGETHER]))
            measured = iter(self._measured([one for one in found if not isinstance(one, UserError)]))
            yield from (one if isinstance(one, UserError) else next(measured) for one in found)

    def _prepared(self, signal: np.ndarray, audio_id: str, name: str) -> _Recording:
        hop = window_samples(self.features.hop, self.audio.sample_rate)
        return _Recording(signal, audio_id, preprocess(signal, self.audio, hop, name))

    def _measured(self, recordings: Sequence[_Recording]) -> list[Features]:
        """Each part of the front end of all recordings, then the next part."""
        rate, settings = self.audio.sample_rate, self.features
        with one_thread(), torch.inference_mode():
            originals = [_tensor(one.signal) for one in recordings]
            levels = [intensity(one, rate, settings.window, settings.hop) for one in originals]
            loud = [loudness(one, rate, settings.window, settings.hop) for one in originals]
            pitch = [self._measure.pitch(_tensor(one.processed.clean)) for one in recordings]
            rhythms = [rhythm(one, rate, f0, hop=settings.hop) for one, (f0, _) in zip(originals, pitch, strict=True)]
            found = []
            for one, level, loudly, (f0, voicing), rhythmic in zip(
                recordings, levels, loud, pitch, rhythms, strict=True
            ):
                tracks = {"intensity": level, "loudness": loudly, "f0": f0, "voicing": voicing}
                kept, speech = torch.from_numpy(one.processed.frames), torch.from_numpy(one.processed.speech)
                frames = self._measure(
                    _tensor(one.processed.signal), {name: track[kept] for name, track in tracks.items()}
                )
                sounding = float(speech.sum()) * window_samples(settings.hop, rate)
                measures = {
                    "duration_s": len(one.signal) / rate,
                    "speech_s": min(sounding, len(one.signal)) / rate,
                    "snr_db": one.processed.snr_db,
                    "band_hz": bandwidth(one.signal, rate),
                    "denoised": float(one.processed.denoised),
                    "intensity_db": _mean_level(level[speech]),
                    "loudness_db": _mean_level(loudly[speech]),
                    **rhythmic,
                }
                printed = fingerprint(one.signal, rate).tobytes()
                found.append(Features(frames.contiguous().numpy(), measures, one.audio_id, printed))
        return found

    def __reduce__(self) -> tuple[type[Extractor], tuple[AudioSettings, FeatureSettings]]:
        """To another process go the settings; it builds its own tables."""
        return Extractor, (self.audio, self.features)


def attempted(function: Callable[[S], T], items: Sequence[S]) -> Iterator[T | UserError]:
    """What the function makes of each item, such as a file, or the error of the user's that it raises."""
    for item in items:
        try:
            made: T | UserError = function(item)
        except UserError as error:
            made = error
        yield made


def read(path: Path, audio: AudioSettings) -> tuple[np.ndarray, str]:
    """Mono signal (samples,) of a file at ``audio.sample_rate``, and the identity of the decoded audio.

    Raises:
        UserError: the file cannot be read, or is too short or too long.
    """

    def accept(frames: int, rate: int) -> None:
        if frames > audio.max_seconds * rate:  # what is too short may be cut short, which decoding tells
            check(frames, rate)

    def check(frames: int, rate: int) -> None:
        check_duration(round(frames * audio.sample_rate / rate), audio, str(path))

    samples, rate = decode(path, accept)
    check(len(samples), rate)
    return mono(samples, rate, audio.sample_rate, str(path)), identify(samples)


def _tensor(signal: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(signal, dtype=np.float32))


def _mean_level(decibels: torch.Tensor) -> float:
    """Level of the mean energy: a few frames of fading sound weigh little in it, and a gain moves it as it is."""
    return float(10.0 * torch.log10((10.0 ** (decibels.double() / 10.0)).mean()))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, and back: utterances are too short to share, and the sums' order stays the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
