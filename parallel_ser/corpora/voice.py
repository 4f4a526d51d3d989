"""A small formant synthesiser: nonsense text and a voice go in, speech comes out.

Voice and noise are made of the same thing, short grains, each with its own spectrum::

    voice:  one grain a glottal pulse    pulse × vocal tract × delay         ┐
    noise:  one grain each 5 ms          white × (vocal tract | frication)   ┘─ inverse FFT ─ overlap-add

so that everything is vectorised over grains, jitter and shimmer belong to a pulse, and the formants may move from pulse
to pulse. The pulse is the causal-anticausal linear model of the glottal flow derivative (Doval, d'Alessandro & Henrich
2003, 'The voice source as a causal/anticausal linear filter'); the vocal tract is a cascade of second-order
resonators (Klatt 1980, JASA 67, 971).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Spectra = NDArray[np.complex128]

RATE = 16_000  # Hz
_HOP = 80  # samples between control frames and between noise grains
_GRAIN = 512  # samples
_LEAD = 160  # samples of a grain before the glottal closure
_FADE = 48  # samples at a grain's ends, over which what an FFT wraps round fades
_FRACTIONS = 32  # pulses are placed to this fraction of a sample

# Target of a phone: F1, F2, F3 in Hz (vowels: men of Peterson & Barney 1952), amplitudes of voice, aspiration and
# frication, the frication's centre in kHz, and its duration in units of a mean vowel.
_PHONES = {
    "a": (730, 1090, 2440, 1.0, 0, 0, 4, 1.0),
    "e": (530, 1840, 2480, 0.9, 0, 0, 4, 0.9),
    "i": (270, 2290, 3010, 0.8, 0, 0, 4, 0.8),
    "o": (570, 840, 2410, 0.9, 0, 0, 4, 1.0),
    "u": (300, 870, 2240, 0.8, 0, 0, 4, 0.8),
    "m": (250, 1000, 2200, 0.4, 0, 0, 4, 0.5),
    "n": (250, 1600, 2600, 0.4, 0, 0, 4, 0.5),
    "l": (350, 1200, 2800, 0.5, 0, 0, 4, 0.5),
    "w": (300, 650, 2200, 0.5, 0, 0, 4, 0.5),
    "y": (270, 2200, 2900, 0.5, 0, 0, 4, 0.5),
    "h": (500, 1500, 2500, 0.0, 0.4, 0, 4, 0.5),
    "s": (320, 1700, 2600, 0.0, 0, 0.4, 5.5, 0.8),
    "f": (300, 1000, 2200, 0.0, 0, 0.1, 6.5, 0.7),
    "z": (280, 1700, 2600, 0.3, 0, 0.2, 5.5, 0.6),
    "p": (250, 800, 2200, 0.0, 0, 0, 1.0, 0.5),
    "t": (250, 1750, 2700, 0.0, 0, 0, 4.5, 0.5),
    "k": (250, 2000, 2400, 0.0, 0, 0, 2.2, 0.5),
    "b": (250, 800, 2200, 0.15, 0, 0, 1.0, 0.4),
    "d": (250, 1750, 2700, 0.15, 0, 0, 4.5, 0.4),
    " ": (500, 1500, 2500, 0.0, 0, 0, 4, 0.5),
}
_BURSTS = {"p": 0.3, "t": 0.6, "k": 0.6, "b": 0.1, "d": 0.2}  # frication when the closure opens
_NEUTRAL_TRACT = np.array([500.0, 1500.0, 2500.0])
_VOWEL_SECONDS = 0.13
_BANDWIDTHS = np.array([80.0, 100.0, 150.0, 220.0, 300.0])


class Voice(NamedTuple):
    """How something is said. Every unit is one that adds, so a change of manner is a difference of two voices."""

    pitch: float  # semitones above 100 Hz
    span: float  # semitones, standard deviation of the syllables' accents
    slope: float  # semitones from the first syllable to the last
    final: float  # semitones of rise at the end
    tempo: float  # octaves above the mean speaking rate
    level: float  # dB
    tension: float  # 0 is modal, -1 lax, +1 pressed: open quotient and spectral tilt
    breath: float  # dB of aspiration against the voice
    roughness: float  # per cent of jitter; shimmer goes with it
    tremor: float  # semitones
    articulation: float  # size of the vowel space, 1 is full
    tract: float  # per cent by which the formants lie above a mean man's


def say(text: str, voice: Voice, rng: np.random.Generator) -> Array:
    """Speech of ``text`` (letters of the phone table and spaces) at an RMS of 1, ``(samples,)`` at 16 kHz."""
    formants, amplitudes = _score(text, voice, rng)
    frames = len(formants)
    seconds = np.arange(frames) * _HOP / RATE
    f0 = _melody(text, voice, seconds, rng)
    speech = np.zeros(frames * _HOP + 2 * _GRAIN)

    # The voice: a pulse wherever the phase passes a whole number.
    phase = np.cumsum(f0) * _HOP / RATE
    closures = np.interp(np.arange(1, int(phase[-1])), phase, seconds)
    period = 1 / np.interp(closures, seconds, f0)
    closures = closures + period * voice.roughness / 100 * rng.standard_normal(len(closures))
    strength = np.interp(closures, seconds, amplitudes[:, 0])
    strength *= np.exp(voice.roughness / 15 * rng.standard_normal(len(closures)))
    heard = (strength > 0.003) & (closures > 0)
    closures, period, strength = closures[heard], period[heard], strength[heard]
    moving = np.stack([np.interp(closures, seconds, track) for track in formants.T], axis=1)
    tract = _level(_tract(moving), share=0.5)  # open vowels are louder, but by less than a bare cascade makes them
    onsets, delays = _delays(closures * RATE)
    _overlap_add(speech, np.fft.irfft(_pulses(period, voice.tension) * tract * delays) * strength[:, None], onsets)
    speech /= _rms(speech)

    # The noise: aspiration through the same tract, frication through its own resonance; white grains filtered.
    aspiration = amplitudes[:, 1] + amplitudes[:, 0] * 10 ** (voice.breath / 20)
    windows = np.hanning(2 * _HOP + 1)[:-1] * rng.standard_normal((frames, 2 * _HOP))
    friction = _resonance(1000 * amplitudes[:, 3], np.full(frames, 1500.0)) * (1 - _z()) ** 2
    colour = aspiration[:, None] * _level(_tract(formants)) + amplitudes[:, 2, None] * _level(friction)
    noise = np.fft.irfft(np.fft.rfft(windows, _GRAIN) * colour * _z(_FADE))
    _overlap_add(speech, noise, np.arange(frames) * _HOP + _LEAD - _HOP - _FADE)
    return speech[_LEAD : _LEAD + frames * _HOP] / _rms(speech)


def in_room(speech: Array, level: float, snr: float, silences: tuple[float, float], rng: np.random.Generator) -> Array:
    """Put speech of RMS 1 between silences (seconds) into background noise; ``level`` in dBFS, ``snr`` in dB."""
    before, after = (round(RATE * seconds) for seconds in silences)
    signal = np.concatenate([np.zeros(before), speech, np.zeros(after)])
    spectrum = np.fft.rfft(rng.standard_normal(len(signal)))
    spectrum *= np.maximum(np.fft.rfftfreq(len(signal), 1 / RATE), 60.0) ** -rng.uniform(0.0, 0.9)
    noise = np.fft.irfft(spectrum, len(signal))
    signal += noise / _rms(noise) * 10 ** (-snr / 20)
    signal *= 10 ** (level / 20)
    return signal * min(1.0, 0.97 / np.abs(signal).max())


def _score(text: str, voice: Voice, rng: np.random.Generator) -> tuple[Array, Array]:
    """Tracks at 200 Hz: formants ``(frames, 5)`` in Hz; voice, aspiration, frication, its kHz ``(frames, 4)``."""
    targets, durations = [], []
    for place, letter in enumerate(text):
        *target, duration = _PHONES[letter]
        last = place >= len(text) - 2
        durations.append(duration * (1.4 if last else 1.0) * rng.uniform(0.85, 1.15))
        targets.append(target)
        if letter in _BURSTS:
            targets.append([*target[:5], _BURSTS[letter], target[6]])
            durations.append(0.1)
    ends = np.cumsum(durations) * _VOWEL_SECONDS * 2**-voice.tempo
    frames = int(ends[-1] * RATE / _HOP) + 12
    phone = np.searchsorted(ends, np.arange(frames - 12) * _HOP / RATE, side="right")
    track = np.array(targets, dtype=float)[np.minimum(phone, len(targets) - 1)]
    track = np.concatenate([track, np.repeat(track[-1:], 12, axis=0)])
    track[-12:, 3:6] = 0.0
    lower = _NEUTRAL_TRACT + voice.articulation * (_smooth(track[:, :3], 13) - _NEUTRAL_TRACT)
    upper = np.broadcast_to([3500.0, 4500.0], (frames, 2))
    formants = np.concatenate([lower, upper], axis=1) * (1 + voice.tract / 100)
    return formants, np.concatenate([_smooth(track[:, 3:6], 5), track[:, 6:]], axis=1)


def _melody(text: str, voice: Voice, seconds: Array, rng: np.random.Generator) -> Array:
    """Fundamental frequency at the control rate, in Hz: declination, accents, a final rise or fall, and tremor."""
    place = seconds / seconds[-1]
    syllables = sum(letter in "aeiou" for letter in text)
    accents = voice.span * rng.standard_normal(syllables)
    accents -= accents.mean()
    melody = np.interp(place, (np.arange(syllables) + 0.5) / syllables, accents)
    melody += voice.slope * (place - 0.5) + voice.final * np.clip((place - 0.75) / 0.25, 0, 1)
    melody += voice.tremor * np.sin(2 * np.pi * (rng.uniform(5, 7) * seconds + rng.uniform()))
    return 100.0 * 2 ** ((voice.pitch + melody) / 12)


def _pulses(period: Array, tension: float) -> Spectra:
    """Spectra of glottal flow derivatives, ``(pulses, bins)``: an anticausal resonance, a zero at 0 Hz, and a tilt."""
    openness = np.clip(0.62 - 0.15 * tension, 0.3, 0.95)  # open quotient
    asymmetry = np.clip(0.7 + 0.06 * tension, 0.55, 0.9)
    centre = 1 / (2 * openness * period)
    opening = np.conj(_resonance(centre, 2 * centre / np.abs(np.tan(np.pi * asymmetry))))
    pole = np.exp(-2 * np.pi * np.clip(2200 * 2 ** (1.3 * tension), 200, 6000) / RATE)
    return opening * ((1 - _z()) * (1 - pole) / (1 - pole * _z()))


def _resonance(centre: Array, bandwidth: Array) -> Spectra:
    """Second-order digital resonators with unit gain at 0 Hz (Klatt 1980, eq. 1 and 2), ``(grains, bins)``."""
    return _tract(centre[:, None], bandwidth[:, None])


def _tract(formants: Array, bandwidths: Array = _BANDWIDTHS) -> Spectra:
    """A cascade of resonators, ``(grains, formants) → (grains, bins)``: one polynomial each, one FFT."""
    radius = np.exp(-np.pi * bandwidths / RATE) * np.ones_like(formants)
    middle = -2 * radius * np.cos(2 * np.pi * np.minimum(formants, 0.47 * RATE) / RATE)
    polynomial = np.ones((len(formants), 1))
    for b, c in zip(middle.T[..., None], (radius**2).T[..., None], strict=True):
        padded = np.pad(polynomial, ((0, 0), (2, 2)))
        polynomial = padded[:, 2:] + b * padded[:, 1:-1] + c * padded[:, :-2]
    spectrum = np.fft.rfft(polynomial, _GRAIN)
    return spectrum[:, :1] / spectrum


def _delays(instants: Array) -> tuple[NDArray[np.intp], Spectra]:
    """Whole samples, and the spectra that delay by ``_LEAD`` and the fraction left over."""
    steps = np.round(instants * _FRACTIONS).astype(np.intp)
    table = _z((_LEAD + np.arange(_FRACTIONS) / _FRACTIONS)[:, None])
    return steps // _FRACTIONS, table[steps % _FRACTIONS]


def _z(delay: float | Array = 1.0) -> Spectra:
    """The spectrum of a delay in samples."""
    return np.exp(-2j * np.pi * delay * np.arange(_GRAIN // 2 + 1) / _GRAIN)


def _overlap_add(signal: Array, grains: Array, onsets: NDArray[np.intp]) -> None:
    fade = np.minimum(1.0, np.minimum(np.arange(_GRAIN), np.arange(_GRAIN)[::-1]) / _FADE)
    for grain, onset in zip(grains * np.sin(np.pi / 2 * fade) ** 2, onsets, strict=True):
        signal[onset : onset + _GRAIN] += grain


def _level(filters: Spectra, share: float = 1.0) -> Spectra:
    """Filters that leave the power of white noise as it is; ``share`` says how much of the difference to take away."""
    return filters / np.mean(np.abs(filters) ** 2, axis=1, keepdims=True) ** (share / 2)


def _smooth(tracks: Array, frames: int) -> Array:
    window = np.hanning(frames + 2)[1:-1]
    padded = np.pad(tracks, ((frames // 2, frames // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(track, window / window.sum(), mode="valid") for track in padded.T], axis=1)


def _rms(signal: Array) -> float:
    return float(np.sqrt(np.mean(signal**2)))
