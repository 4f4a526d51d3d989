"""Whether a segment's sound is good enough to be recognised, and like what the run was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parallel_ser.audio.quality import bandwidth, decibels, estimate_snr
from parallel_ser.corpora.content import clipped_share

LEAST_SPEECH = 0.8
"""Seconds of speech in a segment that is recognised."""
CLIPPED = 0.01
"""Share of samples in flat tops from which a segment is not recognised."""
NOVEL = 1.4
"""Distance from training, in units of what holds 99 of 100 training utterances, from which it is not."""
_BAND = 0.8  # of the band that 99 of 100 training recordings reach
_SNR = 3.0  # dB below what 99 of 100 training recordings have: about as far as the estimate may be off
NOISY = 15.0
"""Decibels of SNR from which speech is recognised, whatever the training recordings had: in a studio much more."""


@dataclass(frozen=True)
class Quality:
    """Of a segment's sound.

    Attributes:
        snr_db: estimated with half a second around it.
        band_hz: above which there is next to nothing.
        clipped: share of samples in flat tops.
        level_db: of the whole segment, dB of full scale.
    """

    snr_db: float
    band_hz: float
    clipped: float
    level_db: float


def judged(signal: np.ndarray, around: np.ndarray, rate: int) -> Quality:
    """Of a segment (samples,) and the same with what is around it."""
    return Quality(
        snr_db=estimate_snr(around, rate),
        band_hz=bandwidth(signal, rate),
        clipped=clipped_share(signal),
        level_db=float(decibels(float(np.square(signal, dtype=np.float64).mean()) if len(signal) else 0.0)),
    )


def faults(
    quality: Quality, speech: float, novelty: float | None, usual: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Why a segment is not recognised, each by its name in ``REASONS``; the first is what it is counted under."""
    found = []
    if speech < LEAST_SPEECH:
        found.append("short")
    if quality.clipped > CLIPPED:
        found.append("clipped")
    if quality.band_hz < _BAND * usual["band_hz"]["low"]:
        found.append("band")
    if quality.snr_db < min(NOISY, usual["snr_db"]["low"] - _SNR):
        found.append("noise")
    if novelty is not None and novelty > NOVEL:
        found.append("unlike")
    return found


REASONS = {
    "short": "less than 0.8 s of speech",
    "clipped": "clipped: the recording level was too high",
    "band": "narrow band: nothing in the upper frequencies that the run was trained with (telephone speech, for one)",
    "noise": "noisy: an SNR below 15 dB, and below that of 99 of 100 training recordings",
    "unlike": "sounds unlike the training recordings (music, noise, another room or microphone)",
    "failed": "could not be recognised",
}
"""What each reason is in words."""
