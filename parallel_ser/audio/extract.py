"""From a file or a signal to its features: load, measure the original, preprocess, measure every frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from parallel_ser.audio.frames import FrameFeatures, intensity, loudness, window_samples
from parallel_ser.audio.load import mono
from parallel_ser.audio.preprocess import check_duration, preprocess
from parallel_ser.audio.rhythm import rhythm
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.corpora.content import audio_id as identify
from parallel_ser.corpora.content import decode
from parallel_ser.errors import UserError

EXTRACTOR_VERSION = 4
"""Counts changes to what the same settings compute, so that old cache entries are not taken for new ones."""


@dataclass(frozen=True)
class Features:
    """What is measured of one utterance.

    Attributes:
        frames: (rows, frames), float32.
        measures: of the whole utterance, on the original signal: ``duration_s``, ``speech_s`` (not silent),
            ``snr_db``, ``denoised`` (0 or 1), ``intensity_db`` and ``loudness_db`` (energy means over what is not
            silent), and ``rhythm``'s (voiced is what is so without the noise, where that was removed).
        audio_id: identity of the decoded audio (``corpora.content.audio_id``); empty when unknown.
    """

    frames: np.ndarray
    measures: dict[str, float]
    audio_id: str


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
        described = f"{EXTRACTOR_VERSION}\n{audio.model_dump_json()}\n{features.model_dump_json()}"
        self.key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def __call__(self, signal: np.ndarray, audio_id: str = "", name: str = "the signal") -> Features:
        """Features of a mono signal (samples,) at ``audio.sample_rate``; errors begin with ``name``.

        Raises:
            UserError: the signal is too short, too long, or silent.
        """
        rate, settings = self.audio.sample_rate, self.features
        hop = window_samples(settings.hop, rate)
        processed = preprocess(signal, self.audio, hop, name)
        with _one_thread(), torch.inference_mode():
            original = torch.from_numpy(np.array(signal, dtype=np.float32))
            levels = {
                "intensity": intensity(original, rate, settings.window, settings.hop),
                "loudness": loudness(original, rate, settings.window, settings.hop),
            }
            f0, voicing = self._measure.pitch(torch.from_numpy(np.array(processed.clean, dtype=np.float32)))
            kept, speech = torch.from_numpy(processed.frames), torch.from_numpy(processed.speech)
            frames = self._measure(
                torch.from_numpy(np.array(processed.signal, dtype=np.float32)),
                {name: track[kept] for name, track in {**levels, "f0": f0, "voicing": voicing}.items()},
            )
            measures = {
                "duration_s": len(signal) / rate,
                "speech_s": min(float(speech.sum()) * hop, len(signal)) / rate,
                "snr_db": processed.snr_db,
                "denoised": float(processed.denoised),
                **{f"{stream}_db": _mean_level(track[speech]) for stream, track in levels.items()},
                **rhythm(original, rate, f0, hop=settings.hop),
            }
        return Features(frames.contiguous().numpy(), measures, audio_id)

    def file(self, path: Path) -> Features:
        """Features of an audio file of any rate and channel count.

        Raises:
            UserError: the file cannot be read (see ``load``), or as for a signal; it names the file.
        """
        signal, audio_id = read(path, self.audio)
        return self(signal, audio_id, str(path))

    def __reduce__(self) -> tuple[type[Extractor], tuple[AudioSettings, FeatureSettings]]:
        """To another process go the settings; it builds its own tables."""
        return Extractor, (self.audio, self.features)


def read(path: Path, audio: AudioSettings) -> tuple[np.ndarray, str]:
    """Mono signal (samples,) of a file at ``audio.sample_rate``, and the identity of the decoded audio.

    Raises:
        UserError: the file cannot be read, or is too short or too long.
    """
    samples, rate = decode(path)
    # Before it is resampled, which takes longer than all the rest for a long recording.
    check_duration(round(len(samples) * audio.sample_rate / rate), audio, str(path))
    return mono(samples, rate, audio.sample_rate, str(path)), identify(samples)


def _mean_level(decibels: torch.Tensor) -> float:
    """Level of the mean energy: a few frames of fading sound weigh little in it, and a gain moves it as it is."""
    return float(10.0 * torch.log10((10.0 ** (decibels.double() / 10.0)).mean()))


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread, and back: utterances are too short to share, and the sums' order stays the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
