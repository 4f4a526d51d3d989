"""Fundamental frequency and voicing of every frame, all frames at once.

The method is the normalised square difference of McLeod & Wyvill 2005 (ICMC, eq. 9), that is, YIN's difference function
(de Cheveigné & Kawahara 2002, JASA 111, eq. 6) divided by the energy it is made of and turned over. With a frame x of
n samples,

    nsdf(lag) = 2 Σ x[j] x[j + lag] / Σ (x[j]² + x[j + lag]²)      j = 0 … n - 1 - lag

is 1 at the period of a periodic frame, about 0 in noise, and does not change with gain. Its numerator is one pair of
Fourier transforms. Like Praat (Boersma 1993), a higher lag has to pay for each octave; a second choice, drawn to the
median of the neighbouring frames, then takes the place of a tracker that would have to walk from frame to frame.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from parallel_ser.errors import UserError

REFERENCE_HZ = 100.0
"""What 0 semitones stand for."""

VOICED_AT = 0.55
"""The voicing from which a frame counts as voiced."""

_OCTAVE_COST = 0.05  # of nsdf, for each octave below pitch_max
_JUMP_COST = 0.25  # of nsdf, for each octave away from the median of the neighbours
_NEIGHBOURS = 7  # frames each side
_SILENT = 1e-4  # of the loudest frame's energy: 40 dB below it
_BLOCK = 1024  # frames transformed together, so that memory does not grow with the recording
_STRETCH = 32  # samples that are filtered together


class Pitch(nn.Module):
    """Pitch of speech in frames centred at t · hop, the signal being zero outside.

    Args:
        sample_rate: in Hz.
        hop: between frames, in samples.
        f_min, f_max: range searched, in Hz. A frame is two periods of ``f_min`` long.
        voiced_at: the voicing from which a frame counts as voiced.

    Raises:
        UserError: ``f_max`` is above an eighth of the sample rate: too few samples a period to measure it by.
    """

    def __init__(
        self, sample_rate: int, hop: int, f_min: float = 60.0, f_max: float = 500.0, voiced_at: float = VOICED_AT
    ):
        super().__init__()
        if f_max > sample_rate / 8:
            raise UserError(
                f"features.pitch_max={f_max:g} Hz is too high for audio.sample_rate={sample_rate}; "
                f"use at most {sample_rate / 8:g}."
            )
        # 16 samples to the shortest period are enough once frequencies above its fourth harmonic are gone. The step
        # divides the hop so that frames start at whole samples.
        most = max(1, int(sample_rate / max(8000.0, 16.0 * f_max)))
        self.step = max(step for step in range(1, most + 1) if hop % step == 0)
        self.hop, self.rate = hop, sample_rate / self.step
        self.f_min, self.f_max, self.voiced_at = f_min, f_max, voiced_at
        self.first_lag = int(self.rate / f_max)
        self.last_lag = math.ceil(self.rate / f_min)
        self.length = 2 * self.last_lag + 2
        self.n_fft = 1 << (self.length + self.last_lag + 1).bit_length()  # no lag wraps round
        lags = torch.arange(self.first_lag, self.last_lag + 1, dtype=torch.float32)
        self.octaves: Tensor
        self.filters: Tensor
        self.register_buffer("octaves", torch.log2(lags / self.first_lag), persistent=False)
        taps = _low_pass(sample_rate, min(4.0 * f_max, self.rate / 4))
        self.taps = len(taps)
        self.register_buffer("filters", _shifted(taps, self.step), persistent=False)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Measure ``signal`` (…, samples).

        Returns:
            f0 in Hz, 0 where unvoiced, and voicing in [0, 1], the height of the chosen peak. Silence, which is what
            lies 40 dB under the signal's loudest frame, has voicing 0. Both (…, 1 + samples // hop).

        Raises:
            UserError: the signal has no samples.
        """
        if signal.shape[-1] == 0:
            raise UserError("an audio signal with no samples has no pitch; give at least one sample.")
        frames = self._frames(signal.float().reshape(-1, signal.shape[-1]))
        energy = torch.cat([_centred(part).square().sum(dim=-1) for part in frames.split(_BLOCK, dim=-2)], dim=-1)
        audible = (energy > _SILENT * energy.amax(dim=-1, keepdim=True)) & (energy > 1e-12)

        shape = (*signal.shape[:-1], energy.shape[-1])
        # From here on the audible frames alone, in one row: what silence would give is not asked.
        places = audible.nonzero()
        if not len(places):
            return energy.new_zeros(shape), energy.new_zeros(shape)
        parts = [self._peaks(_centred(frames[part[:, 0], part[:, 1]])) for part in places.split(_BLOCK)]
        height, shift = (torch.cat(part) for part in zip(*parts, strict=True))
        score = height - _OCTAVE_COST * self.octaves
        first = score.argmax(dim=-1, keepdim=True)
        voiced = height.gather(-1, first)[:, 0] >= self.voiced_at
        octave = self.octaves[first[:, 0]]
        around = _median_around(_spread(torch.where(voiced, octave, torch.nan), audible, torch.nan), audible)
        around = torch.where(around.isnan(), octave, around)
        best = (score - _JUMP_COST * (self.octaves - around[:, None]).abs()).argmax(dim=-1, keepdim=True)

        voicing = height.gather(-1, best)[:, 0].clamp(0.0, 1.0)
        f0 = (self.rate / (best + self.first_lag + shift.gather(-1, best))[:, 0]).clamp(self.f_min, self.f_max)
        f0 = torch.where(voicing >= self.voiced_at, f0, 0.0)
        return _spread(f0, audible).reshape(shape), _spread(voicing, audible).reshape(shape)

    def _frames(self, signal: Tensor) -> Tensor:
        """Low-passed, decimated frames (batch, frames, length) of signal (batch, samples)."""
        samples, left = signal.shape[-1], self.length // 2 * self.step + self.taps // 2
        decimated = samples // self.hop * self.hop // self.step + self.length
        stretches = -(-decimated // _STRETCH)
        needed = (stretches - 1) * _STRETCH * self.step + len(self.filters)
        padded = functional.pad(signal, (left, max(0, needed - left - samples)))
        # A stretch of results is a product of matrices: a tenth of conv1d's time.
        stretched = padded.unfold(-1, len(self.filters), _STRETCH * self.step)[..., :stretches, :] @ self.filters
        return stretched.flatten(-2)[..., :decimated].unfold(-1, self.length, self.hop // self.step)

    def _peaks(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Of frames (…, length) the height of the nsdf's peak at each lag, -1 where none is, and its offset in lags."""
        low, high, n = self.first_lag - 1, self.last_lag + 1, self.length
        spectrum = squared(torch.fft.rfft(frames, self.n_fft))
        product = torch.fft.irfft(spectrum, self.n_fft)[..., low : high + 1]
        energy = frames.square().cumsum(dim=-1)
        total = energy[..., -1:]
        heads = energy[..., n - 1 - high : n - low].flip(-1)
        # A small share of the whole keeps a lag over an all but silent stretch from being decided by rounding.
        nsdf = 2.0 * product / (heads + (total - energy[..., low - 1 : high]) + 1e-4 * total + 1e-20)

        before, here, after = nsdf[..., :-2], nsdf[..., 1:-1], nsdf[..., 2:]
        peak = (here > before) & (here >= after)
        slope, bend = before - after, before - 2.0 * here + after
        shift = torch.where(peak, 0.5 * slope / torch.where(peak, bend, 1.0), 0.0)
        height = torch.where(peak, here - 0.25 * slope * shift, -1.0)
        return height, shift


def squared(spectrum: Tensor) -> Tensor:
    """Power of a complex spectrum; a sum over the pair of a number's parts takes several times as long."""
    return spectrum.real.square() + spectrum.imag.square()


def semitones(f0: Tensor) -> Tensor:
    """Pitch contour for a network: 12 log2(f0 / 100 Hz), unbroken.

    Unvoiced frames (f0 = 0) lie on the line between their voiced neighbours, or keep the first or last voiced value at
    the ends, so that voicing does not show as jumps; it has its own stream. All zeros where no frame is voiced.

    Args:
        f0: in Hz (…, frames).
    """
    frames = f0.shape[-1]
    voiced = f0 > 0.0
    contour = 12.0 * torch.log2(torch.where(voiced, f0, REFERENCE_HZ) / REFERENCE_HZ)
    index = torch.arange(frames, device=f0.device).expand(f0.shape)
    before = torch.where(voiced, index, -1).cummax(dim=-1).values
    after = torch.where(voiced, index, frames).flip(-1).cummin(dim=-1).values.flip(-1)
    before, after = torch.where(before < 0, after, before), torch.where(after >= frames, before, after)
    before, after = before.clamp(0, frames - 1), after.clamp(0, frames - 1)
    share = (index - before) / (after - before).clamp(min=1)
    return torch.lerp(contour.gather(-1, before), contour.gather(-1, after), share)


def _centred(frames: Tensor) -> Tensor:
    return frames - frames.mean(dim=-1, keepdim=True)


def _spread(values: Tensor, places: Tensor, elsewhere: float = 0.0) -> Tensor:
    """``values``, one for each True of ``places``, where these are."""
    return values.new_full(places.shape, elsewhere).masked_scatter_(places, values)


def _median_around(values: Tensor, places: Tensor) -> Tensor:
    """At each True of ``places`` the running median of the ``values`` (…, frames) that are numbers; NaN if none is."""
    padded = functional.pad(values, (_NEIGHBOURS, _NEIGHBOURS), value=torch.nan)
    return padded.unfold(-1, 2 * _NEIGHBOURS + 1, 1)[places].nanmedian(dim=-1).values


def _shifted(taps: Tensor, step: int) -> Tensor:
    """A filter (taps,) at ``_STRETCH`` places, ``step`` samples apart: (samples, places)."""
    filters = taps.new_zeros((_STRETCH - 1) * step + len(taps), _STRETCH)
    for place in range(_STRETCH):
        filters[place * step : place * step + len(taps), place] = taps
    return filters


def _low_pass(sample_rate: int, cutoff: float) -> Tensor:
    """Windowed sinc (Hann), -6 dB at ``cutoff`` Hz, about as wide in transition as ``cutoff``."""
    half = round(1.5 * sample_rate / cutoff)
    time = torch.arange(-half, half + 1, dtype=torch.float64)
    taps = torch.sinc(2.0 * cutoff / sample_rate * time) * torch.cos(math.pi * time / (2 * half + 2)).square()
    return (taps / taps.sum()).float()
