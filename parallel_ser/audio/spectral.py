"""Shape of the spectrum and quality of the voice, frame by frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from parallel_ser.audio.pitch import squared

SPECTRAL = (
    "centroid",
    "spread",
    "skewness",
    "rolloff25",
    "rolloff50",
    "rolloff75",
    "rolloff90",
    "flux",
    "flatness",
    "entropy",
    "slope500",
    "slope1500",
    "alpha",
    "hammarberg",
)
"""Names of the rows of ``Spectral``."""

QUALITY = ("jitter", "shimmer", "hnr", "h1h2", "h1a3")
"""Names of the rows of ``Quality``."""

FLOOR = 1e-10
"""Power below this counts as this: -100 dB."""

_ROLLOFFS = (0.25, 0.5, 0.75, 0.9)
_LARGEST_JITTER = 0.25  # of a period; more is the tracker's jump, not the voice's
_LARGEST_SHIMMER = 12.0  # dB
_BLOCK = 1024  # frames transformed together


def decibels(power: Tensor) -> Tensor:
    """10 log10 of power, not below -100 dB."""
    return 10.0 * torch.log10(power.clamp(min=FLOOR))


class Spectral(nn.Module):
    """Spectral shape of frames from their power spectrum.

    ``centroid``, ``spread`` and ``rolloff``s (the frequency below which that share of the power lies) in kHz;
    ``skewness``; ``flux``, the Euclidean distance between this frame's and the last one's shares of magnitude;
    ``flatness``, geometric over arithmetic mean in dB; ``entropy`` of the shares of power, 0 to 1; ``slope500`` and
    ``slope1500``, the regression slope of the spectrum's level from 0 to 500 and 500 to 1500 Hz in dB/kHz; ``alpha``,
    the level of 1 to 5 kHz over 50 to 1000 Hz; ``hammarberg``, the highest level up to 2 kHz over that of 2 to 5 kHz,
    both in dB (Eyben et al. 2016, GeMAPS). Of a silent frame the shares are equal.
    """

    def __init__(self, sample_rate: int, n_fft: int):
        super().__init__()
        hertz = torch.fft.rfftfreq(n_fft, 1.0 / sample_rate)
        self.kilohertz: Tensor
        self.slopes: Tensor
        self.register_buffer("kilohertz", hertz / 1000.0, persistent=False)
        slopes = [_slope_weights(hertz / 1000.0, low, high) for low, high in ((0.0, 0.5), (0.5, 1.5))]
        self.sloping = _band(hertz, 0.0, 1500.0)
        self.register_buffer("slopes", torch.stack(slopes)[:, self.sloping].contiguous(), persistent=False)
        self.rolloffs: Tensor
        self.register_buffer("rolloffs", torch.tensor(_ROLLOFFS), persistent=False)
        top = min(5000.0, sample_rate / 2)
        self.bands = [_band(hertz, *edges) for edges in ((50.0, 1000.0), (1000.0, top), (0.0, 2000.0), (2000.0, top))]

    def forward(self, power: Tensor) -> Tensor:
        """Power (…, bins, frames) to (…, rows, frames)."""
        power = power.transpose(-1, -2)  # a frame's bins lie side by side, as the transform left them
        floored = power + FLOOR
        whole = floored.sum(dim=-1, keepdim=True)
        share, logarithm, bins = floored / whole, floored.log(), power.shape[-1]
        centroid = share @ self.kilohertz
        away = self.kilohertz - centroid[..., None]
        weighted = away.square() * share
        spread = weighted.sum(dim=-1).clamp(min=1e-6).sqrt()
        skewness = (weighted * away).sum(dim=-1) / spread**3
        reached = torch.searchsorted(share.cumsum(dim=-1), self.rolloffs.expand(*share.shape[:-1], -1).contiguous())
        rolloffs = self.kilohertz[reached.clamp(max=bins - 1)].unbind(dim=-1)
        magnitude = floored.sqrt()
        magnitude = magnitude / magnitude.sum(dim=-1, keepdim=True)
        flux = functional.pad((magnitude[..., 1:, :] - magnitude[..., :-1, :]).square().sum(dim=-1).sqrt(), (1, 0))
        all_of_it = whole[..., 0].log()
        flatness = 10.0 / math.log(10.0) * (logarithm.mean(dim=-1) - all_of_it + math.log(bins))
        entropy = (all_of_it - (share * logarithm).sum(dim=-1)) / math.log(bins)
        slopes = (decibels(power[..., self.sloping]) @ self.slopes.T).unbind(dim=-1)
        low, high, below, above = self.bands
        alpha = 10.0 * torch.log10(floored[..., high].sum(dim=-1) / floored[..., low].sum(dim=-1))
        hammarberg = decibels(power[..., below].amax(dim=-1)) - decibels(power[..., above].amax(dim=-1))
        rows = [centroid, spread, skewness, *rolloffs, flux, flatness, entropy, *slopes, alpha, hammarberg]
        return torch.stack(rows, dim=-2)


class Quality(nn.Module):
    """Voice quality of voiced frames, 0 where the voice is silent; robust relatives of what phoneticians measure.

    ``jitter``: change of the period from the frame before, as a share of it. ``shimmer``: change of the peak amplitude
    from the frame before, in dB. ``hnr``: harmonics over noise in dB, from the height r of the pitch's peak as
    10 log10 r / (1 - r) (Boersma 1993). ``h1h2`` and ``h1a3``: level of the first harmonic over the second's, and over
    the highest from 2 to 4 kHz, in dB; from windows of 64 ms, in which harmonics stand apart.
    """

    def __init__(self, sample_rate: int, hop: int):
        super().__init__()
        self.hop, self.length = hop, round(0.064 * sample_rate)
        self.n_fft = 1 << (self.length - 1).bit_length()
        self.spacing = sample_rate / self.n_fft
        hertz = torch.fft.rfftfreq(self.n_fft, 1.0 / sample_rate)
        self.formant = _band(hertz, 2000.0, min(4000.0, sample_rate / 2))
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(self.length), persistent=False)

    def forward(self, signal: Tensor, f0: Tensor, voicing: Tensor) -> Tensor:
        """Measure ``signal`` (…, samples) with its pitch in Hz (0 unvoiced) and voicing, both (…, frames).

        Returns:
            (…, rows, frames)
        """
        voiced = f0 > 0.0
        both = voiced & functional.pad(voiced[..., :-1], (1, 0))
        period = 1.0 / torch.where(voiced, f0, 1.0)
        before = functional.pad(period[..., :-1], (1, 0), value=1.0)
        jitter = (2.0 * (period - before).abs() / (period + before)).clamp(max=_LARGEST_JITTER)
        flat = signal.reshape(-1, signal.shape[-1])
        half = self.length // 4
        peaks = functional.max_pool1d(functional.pad(flat.abs(), (half, half)), 2 * half, self.hop)
        amplitude = 20.0 * torch.log10(_fitted(peaks, f0.shape[-1]).clamp(min=1e-5)).reshape(f0.shape)
        shimmer = functional.pad((amplitude[..., 1:] - amplitude[..., :-1]).abs(), (1, 0)).clamp(max=_LARGEST_SHIMMER)
        ratio = voicing.clamp(0.01, 0.9999)
        hnr = 10.0 * torch.log10(ratio / (1.0 - ratio))
        balance = self._balance(flat, f0.reshape(len(flat), -1)).reshape(2, *f0.shape)
        rows = [jitter * both, shimmer * both, hnr * voiced, *balance]
        return torch.stack(rows, dim=-2)

    def _balance(self, signal: Tensor, f0: Tensor) -> Tensor:
        """``h1h2`` and ``h1a3`` (2, batch, frames) of signal (batch, samples), 0 where f0 (batch, frames) is."""
        places = (f0 > 0.0).nonzero()
        left = self.length // 2
        right = max(0, (f0.shape[-1] - 1) * self.hop + self.length - left - signal.shape[-1])
        frames = functional.pad(signal, (left, right)).unfold(-1, self.length, self.hop)
        found = f0.new_zeros(2, *f0.shape)
        for some in places.split(_BLOCK) if len(places) else ():
            row, frame = some.unbind(dim=-1)
            power = squared(torch.fft.rfft(frames[row, frame] * self.window, self.n_fft))
            hertz = f0[row, frame]
            first, second = (self._harmonic(power, hertz * number) for number in (1, 2))
            formant = decibels(power[:, self.formant].amax(dim=-1))
            found[:, row, frame] = torch.stack([first - second, first - formant])
        return found

    def _harmonic(self, power: Tensor, hertz: Tensor) -> Tensor:
        """The highest level (frames,) within a bin of ``hertz`` (frames,), of power (frames, bins)."""
        nearest = (hertz / self.spacing).round().long()
        places = torch.stack([(nearest + step).clamp(0, power.shape[-1] - 1) for step in (-1, 0, 1)], dim=-1)
        return decibels(power.gather(-1, places).amax(dim=-1))


def _fitted(rows: Tensor, frames: int) -> Tensor:
    """Rows (…, any) cut or repeated at the end to ``frames``."""
    short = frames - rows.shape[-1]
    return functional.pad(rows, (0, short), mode="replicate") if short > 0 else rows[..., :frames]


def _band(hertz: Tensor, low: float, high: float) -> slice:
    """The bins from ``low`` to ``high``, at least one."""
    first = int((hertz < low).sum().clamp(max=len(hertz) - 1))
    return slice(first, max(first + 1, int((hertz <= high).sum())))


def _slope_weights(kilohertz: Tensor, low: float, high: float) -> Tensor:
    """Weights (bins,) whose product with levels is their regression slope over the band."""
    inside = ((kilohertz >= low) & (kilohertz <= high)).float()
    away = (kilohertz - (kilohertz * inside).sum() / inside.sum().clamp(min=1.0)) * inside
    return away / away.square().sum().clamp(min=1e-9)
