"""Augmentation of frame features: pure functions of a generator, so that a seed says what a step saw."""

from __future__ import annotations

import numpy as np


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


def spec_augment(frames: np.ndarray, rng: np.random.Generator, mean: np.ndarray, masks: int = 2) -> np.ndarray:
    """Set ``masks`` bands of rows and of frames to their mean, each up to an eighth wide (SpecAugment, Park 2019).

    Args:
        frames: ``(rows, frames)``.
        rng: draws places and widths.
        mean: of the rows, ``(rows, 1)``; zero for standardised features.
        masks: along each axis.
    """
    out = frames.copy()
    mean = np.broadcast_to(mean, frames.shape)
    for axis in (0, 1):
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
