"""From a file to a mono signal at one sample rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from parallel_ser.corpora.content import NonFiniteError, OutOfPhaseError, cancels, decode

LOUDEST = 1e6
"""The highest sample that is taken: floats of 16-bit integers are below it, what is no sound mostly is not."""


def load(path: Path, sample_rate: int) -> np.ndarray:
    """Mono signal (samples,), float32, full scale ±1, at ``sample_rate`` Hz; a silent file is a signal of zeros.

    Raises:
        UndecodableError: the file is missing, empty, no audio, damaged or truncated.
        NonFiniteError: it holds samples that are no numbers.
        OutOfPhaseError: its channels cancel.
    """
    return mono(*decode(path), sample_rate, name=str(path))


def mono(samples: np.ndarray, rate: int, sample_rate: int, name: str = "the signal") -> np.ndarray:
    """Mean of the channels of ``samples`` (samples, channels), resampled from ``rate`` to ``sample_rate`` Hz.

    Resampling is soxr's HQ (a linear-phase low-pass, no delay).

    Raises:
        NonFiniteError: a sample is NaN, infinite or beyond ``LOUDEST``.
        OutOfPhaseError: the channels cancel.
    """
    if not np.isfinite(samples).all():
        raise NonFiniteError(f"{name} holds samples that are NaN or infinite; export it again or leave it out.")
    if (peak := float(np.abs(samples).max(initial=0.0))) > LOUDEST:
        raise NonFiniteError(
            f"{name} holds samples up to {peak:.1g}, where full scale is 1; export it again or leave it out."
        )
    if cancels(samples):
        raise OutOfPhaseError(
            f"the channels of {name} cancel each other (one is the other with its sign turned), so that their mean is "
            "silent; keep one of them: ffmpeg -i FILE -af 'pan=mono|c0=c0' ONE.wav"
        )
    signal = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return resampled(signal, rate, sample_rate)


def resampled(signal: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """A signal (samples,) from ``rate`` to ``sample_rate`` Hz, of the same type; itself where they are equal."""
    if rate == sample_rate:
        return signal
    import soxr

    made: np.ndarray = soxr.resample(signal, rate, sample_rate, quality="HQ")
    return made
