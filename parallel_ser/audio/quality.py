"""How loud and how noisy a recording is, from the power of its frames."""

from __future__ import annotations

import numpy as np

WINDOW = 0.025
HOP = 0.010
DIGITAL_ZERO = 1e-12
"""Power at or below -120 dBFS: padding, not a recorded background."""


def frame(signal: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Frames (frames, window) of a signal (samples,), a view; what does not fill a last frame is left out."""
    if len(signal) < window:
        return np.empty((0, window), signal.dtype)
    return np.lib.stride_tricks.sliding_window_view(signal, window)[::hop]


def decibels(power: np.ndarray | float) -> np.ndarray:
    """10 log10 of power, not below -120 dB."""
    return 10.0 * np.log10(np.maximum(power, DIGITAL_ZERO))


def estimate_snr(signal: np.ndarray, sample_rate: int) -> float:
    """Signal-to-noise ratio in dB of speech (samples,) with a roughly steady background, from -20 to 80.

    The background is the 10th percentile of the power of frames of 25 ms (digital silence set aside), the speech the
    mean power of frames at least 3 dB above it, less the background. So it needs pauses: speech without any reads too
    low. Against RAVDESS with known steady noise it is right within 3 dB from 10 to 30 dB, and 4 to 7 dB high at 0 dB.
    """
    power = _powers(signal, sample_rate, HOP)
    power = power[power > DIGITAL_ZERO]
    if not len(power):
        return -20.0
    noise = float(np.percentile(power, 10))
    speech = power[power >= 2.0 * noise]
    level = float(speech.mean() if len(speech) else power.mean()) - noise
    return float(np.clip(decibels(level) - decibels(noise), -20.0, 80.0))


def bandwidth(signal: np.ndarray, sample_rate: int) -> float:
    """The frequency in Hz above which a signal (samples,) has next to nothing; 0 of silence.

    The highest bin whose power (its 95th percentile over frames of 32 ms) is within 55 dB of the strongest bin's. On
    100 recordings of RAVDESS and TESS at 16 kHz it is 7.6 kHz or more, and 3.9 kHz or less after telephone coding
    (8 kHz, mu-law, back to 16 kHz in 16 bits).
    """
    window = min(round(0.032 * sample_rate), len(signal))
    frames = frame(signal, window, max(1, window // 2)) if window > 1 else np.empty((0, 0))
    if not len(frames):
        return 0.0
    power = np.percentile(np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2, 95, axis=0)
    if not power.max():
        return 0.0
    highest = int(np.flatnonzero(power >= power.max() * 10**-5.5)[-1])
    return highest * sample_rate / 2 / (len(power) - 1)


def background(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Samples of the quietest fifth of the frames, joined: what noise sounds like here.

    Empty where the loudest frames stand out by less than 5 dB: without pauses, as in a sustained vowel, the quietest
    frames are the voice itself.
    """
    frames, power = _sounding(signal, sample_rate, WINDOW)
    if not len(power) or np.percentile(power, 95) < 10**0.5 * np.percentile(power, 10):
        return signal[:0]
    return frames[power <= np.percentile(power, 20)].ravel()


def _sounding(signal: np.ndarray, sample_rate: int, hop: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames of 25 ms (frames, window) that are not digital silence, and their variances (frames,)."""
    frames = frame(signal, _window(signal, sample_rate), round(hop * sample_rate))
    power = _powers(signal, sample_rate, hop)
    sounding = power > DIGITAL_ZERO
    return frames[sounding], power[sounding]


def _window(signal: np.ndarray, sample_rate: int) -> int:
    """Samples of a frame of 25 ms, or of all the signal."""
    return min(round(WINDOW * sample_rate), len(signal))


def _powers(signal: np.ndarray, sample_rate: int, hop: float) -> np.ndarray:
    """Variances (frames,) of frames of 25 ms."""
    window = _window(signal, sample_rate)
    first = np.arange(0, len(signal) - window + 1, round(hop * sample_rate)) if window else np.arange(0)
    return variances(signal, first, first + window)


def variances(signal: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Variance of the samples from each of ``first`` up to the same of ``last``, at least one, in double precision.

    From running sums, so that overlapping stretches are read once; these are over the blocks of samples that all edges
    but the signal's end have in common.
    """
    block = int(np.gcd.reduce(np.concatenate([first, last[last < len(signal)]]), initial=0)) or len(signal)
    whole = np.zeros(-(-len(signal) // block) * block)
    whole[: len(signal)] = signal

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.concatenate([[0.0], np.cumsum(values.reshape(-1, block).sum(axis=1))])
        return (total[-(-last // block)] - total[first // block]) / np.maximum(last - first, 1)

    return mean(whole * whole) - mean(whole) ** 2
