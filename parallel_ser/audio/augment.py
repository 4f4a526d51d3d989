"""Augmentation of frame features and of waveforms: pure functions of a generator, so that a seed says what was seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parallel_ser.audio.load import resampled


def stretch(frames: np.ndarray, count: int) -> np.ndarray:
    """Resample features ``(rows, frames)`` to ``count`` frames, linearly between neighbours."""
    return _interpolate(frames, np.linspace(0.0, frames.shape[1] - 1.0, count))


def shift_bands(frames: np.ndarray, factor: float, bands: int) -> np.ndarray:
    """Move the first ``bands`` rows (log-mel bands) along the frequency axis by ``factor``; the other rows stay.

    A vocal tract of another length does about this (vocal tract length perturbation, Jaitly & Hinton 2013).
    """
    if not bands:
        return frames
    places = np.clip(np.arange(bands) * factor, 0.0, bands - 1.0)
    return np.concatenate([_interpolate(frames[:bands].T, places).T, frames[bands:]])


def spec_augment(
    frames: np.ndarray, rng: np.random.Generator, mean: np.ndarray, masks: int = 2, axes: Sequence[int] = (0, 1)
) -> np.ndarray:
    """Set ``masks`` bands of rows and of frames to their mean, each up to an eighth wide (SpecAugment, Park 2019).

    Args:
        frames: ``(rows, frames)``.
        rng: draws places and widths.
        mean: of the rows, ``(rows, 1)``; zero for standardised features.
        masks: along each axis.
        axes: 0 for rows and 1 for frames; of a waveform's hops frames alone, which are silent then.
    """
    out = frames.copy()
    mean = np.broadcast_to(mean, frames.shape)
    for axis in axes:
        size = frames.shape[axis]
        for _ in range(masks):
            width = int(rng.integers(0, size // 8 + 1))
            start = int(rng.integers(0, size - width + 1))
            place = (slice(None),) * axis + (slice(start, start + width),)
            out[place] = mean[place]
    return out


def _interpolate(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``values`` ``(n, positions)`` at fractional ``places`` of the last axis."""
    left = np.minimum(places.astype(np.int64), values.shape[1] - 1)
    right = np.minimum(left + 1, values.shape[1] - 1)
    share = (places - left).astype(values.dtype)
    return values[:, left] * (1 - share) + values[:, right] * share


def signal_of(frames: np.ndarray) -> np.ndarray:
    """The samples of hops ``(hop, frames)``."""
    return frames.T.reshape(-1)


def hops_of(signal: np.ndarray, hop: int) -> np.ndarray:
    """The reverse, of a whole number of hops."""
    return np.ascontiguousarray(signal.reshape(-1, hop).T)


def speed(signal: np.ndarray, samples: int) -> np.ndarray:
    """A signal played so that it lasts ``samples``: tempo and pitch change together (Ko et al. 2015)."""
    import soxr

    played = soxr.resample(signal, len(signal), samples, quality="HQ")[:samples]
    return np.pad(played, (0, samples - len(played))).astype(signal.dtype)


def add_noise(signal: np.ndarray, rng: np.random.Generator, least: float, most: float = 40.0) -> np.ndarray:
    """White noise at a signal-to-noise ratio between ``least`` and ``most`` dB, alike in each dB."""
    ratio = rng.uniform(min(least, most), most)
    deviation = float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))) * 10.0 ** (-ratio / 20.0)
    return (signal + deviation * rng.standard_normal(len(signal))).astype(signal.dtype)


def filtered(signal: np.ndarray, rate: int, hertz: float, kind: str) -> np.ndarray:
    """A signal through a Butterworth filter of the first order, ``highpass`` or ``lowpass``, from ``hertz`` on."""
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(1, hertz, kind, fs=rate, output="sos"), signal), signal.dtype)


def narrowed(signal: np.ndarray, rate: int, narrow: int) -> np.ndarray:
    """What is left of a signal at ``rate`` that was sampled at ``narrow`` Hz, at its own rate again."""
    return resampled(resampled(signal, rate, narrow), narrow, rate)


def gain(signal: np.ndarray, rng: np.random.Generator, most: float) -> np.ndarray:
    """Louder or softer by up to ``most`` dB."""
    return (signal * 10.0 ** (rng.uniform(-most, most) / 20.0)).astype(signal.dtype)
