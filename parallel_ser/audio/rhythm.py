"""Rhythm of an utterance: rate, pauses, voiced runs and modulation of energy.

Measured on the recording as it is, before silence is removed and level normalised.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from parallel_ser.audio.frames import intensity, window_samples

RHYTHM = (
    "speech_rate",
    "articulation_rate",
    "pause_ratio",
    "pause_rate",
    "pause_mean",
    "voiced_run_mean",
    "modulation_share",
    "modulation_peak",
)
"""Names of the measures, in the order of ``rhythm``'s result."""

_HOP = 0.010  # s
_WINDOW = 0.032  # s; its first null, 62.5 Hz, hides the pulses of the voice
_DIP = 2.0  # dB between two syllables
_STILL = 0.01  # an envelope that varies less than this share of its mean has no modulation
_RESOLUTION = 0.05  # Hz between the points of the modulation spectrum


def rhythm(
    signal: Tensor,
    sample_rate: int,
    f0: Tensor,
    *,
    hop: float = _HOP,
    silence_db: float = 25.0,
    floor_db: float = -90.0,
    min_pause: float = 0.2,
) -> dict[str, float]:
    """Rhythm measures of one signal (samples,) in [-1, 1], every one finite.

    Syllables are counted as by de Jong & Wempe 2009 (Behavior Research Methods 41): voiced peaks of intensity above its
    median over the sounding frames, with a dip of 2 dB between them. A frame is silent when it lies ``silence_db``
    under the 99th percentile of intensity, or under ``floor_db``. The **span** is from the first to the last sounding
    frame, for the silence around it belongs to the recording; a **pause** is silence of ``min_pause`` seconds or more
    inside.

        speech_rate         syllables per second of the span
        articulation_rate   syllables per second of the span without its pauses
        pause_ratio         share of the span that is pause
        pause_rate          pauses per second of the span
        pause_mean          mean length of a pause, s
        voiced_run_mean     mean length of an unbroken voiced stretch, s
        modulation_share    share of the envelope's modulation spectrum (above 0 Hz) that lies in 2 to 8 Hz
        modulation_peak     frequency of that spectrum's highest point from 1 to 16 Hz, in Hz

    Whatever does not occur is 0, and so are all measures of a silent signal.

    Args:
        signal: (samples,)
        sample_rate: in Hz.
        f0: pitch of the signal in Hz (frames,), 0 where unvoiced.
        hop: seconds between its frames; between these counts what is nearest.
        silence_db, floor_db, min_pause: see above; dB, dB re full scale, seconds.

    Raises:
        UserError: the signal has no samples.
    """
    step = window_samples(_HOP, sample_rate)
    frame = step / sample_rate  # s
    level = intensity(signal, sample_rate, _WINDOW, _HOP).numpy()
    sounding = level > max(float(np.quantile(level, 0.99)) - silence_db, floor_db)
    if not sounding.any():
        return dict.fromkeys(RHYTHM, 0.0)
    nearest = np.rint(np.arange(len(level)) * (step / window_samples(hop, sample_rate))).astype(int)
    voiced = (f0.numpy() > 0.0)[np.minimum(nearest, len(f0) - 1)]

    inside = np.flatnonzero(sounding)
    span = slice(inside[0], inside[-1] + 1)
    level, sounding, voiced = level[span], sounding[span], voiced[span] & sounding[span]
    seconds = len(level) * frame
    gaps = _runs(~sounding) * frame
    pauses = gaps[gaps >= min_pause]
    paused = float(pauses.sum())
    voiced_runs = _runs(voiced) * frame
    syllables = _syllables(level, sounding, voiced)
    share, peak = _modulation(10.0 ** (level / 20.0), frame)
    values = (
        syllables / seconds,
        syllables / (seconds - paused),
        paused / seconds,
        len(pauses) / seconds,
        paused / max(1, len(pauses)),
        float(voiced_runs.sum()) / max(1, len(voiced_runs)),
        share,
        peak,
    )
    return dict(zip(RHYTHM, values, strict=True))


def _runs(mask: np.ndarray) -> np.ndarray:
    """Lengths, in frames, of the runs of True in mask (frames,)."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))  # where runs begin and end, in turn
    return edges[1::2] - edges[::2]


def _syllables(level: np.ndarray, sounding: np.ndarray, voiced: np.ndarray) -> int:
    """Voiced peaks of level (frames,) above its median that stand ``_DIP`` out of the dips beside them."""
    from scipy.signal import find_peaks

    # Silence outside, so that a span which starts or ends within a syllable still has that syllable's peak.
    # The slight rise parts peaks of one height: prominence looks past equals, and each ripple of a tone would count.
    rising = level.astype(np.float64) + 1e-6 * np.arange(len(level))
    middle = np.sort(level[sounding])[(sounding.sum() - 1) // 2]
    peaks, _ = find_peaks(np.pad(rising, 1, constant_values=-200.0), height=middle, prominence=_DIP)
    return int(voiced[peaks - 1].sum())


def _modulation(envelope: np.ndarray, frame: float) -> tuple[float, float]:
    """Share of 2 to 8 Hz in, and peak (Hz) of, the Hann-windowed power spectrum of an amplitude envelope (frames,)."""
    if len(envelope) < 3:
        return 0.0, 0.0
    weights = np.hanning(len(envelope))
    # Taking out the weighted mean makes the spectrum exactly 0 at 0 Hz, whatever the window.
    mean = (envelope * weights).sum() / weights.sum()
    swing = (envelope - mean) * weights
    if swing @ swing < (_STILL * mean) ** 2 * (weights @ weights):
        return 0.0, 0.0
    points = max(len(envelope), round(1.0 / (frame * _RESOLUTION)))
    power = np.abs(np.fft.rfft(swing, points)) ** 2
    hertz = np.fft.rfftfreq(points, frame)
    share = power[(hertz >= 2.0) & (hertz <= 8.0)].sum() / power.sum()
    peak = hertz[np.argmax(np.where((hertz >= 1.0) & (hertz <= 16.0), power, 0.0))]
    return float(share), float(peak)
