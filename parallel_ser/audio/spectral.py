"""Shape of the spectrum and quality of the voice, frame by frame."""

from __future__ import annotations

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

_FLOOR = 1e-10  # power; as for the log-mel bands, -100 dB
_ROLLOFFS = (0.25, 0.5, 0.75, 0.9)
_LARGEST_JITTER = 0.25  # of a period; more is the tracker's jump, not the voice's
_LARGEST_SHIMMER = 12.0  # dB


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
        self.register_buffer("slopes", torch.stack(slopes), persistent=False)
        top = min(5000.0, sample_rate / 2)
        self.bands = [_band(hertz, *edges) for edges in ((50.0, 1000.0), (1000.0, top), (0.0, 2000.0), (2000.0, top))]

    def forward(self, power: Tensor) -> Tensor:
        """Power (…, bins, frames) to (…, rows, frames)."""
        level = 10.0 * torch.log10(power.clamp(min=_FLOOR))
        floored = power + _FLOOR
        share = floored / floored.sum(dim=-2, keepdim=True)
        kilohertz = self.kilohertz[:, None]
        centroid = (kilohertz * share).sum(dim=-2)
        away = kilohertz - centroid[..., None, :]
        spread = (away.square() * share).sum(dim=-2).clamp(min=1e-6).sqrt()
        skewness = (away**3 * share).sum(dim=-2) / spread**3
        total = share.cumsum(dim=-2)
        rolloffs = [self.kilohertz[(total < part).sum(dim=-2).clamp(max=len(self.kilohertz) - 1)] for part in _ROLLOFFS]
        magnitude = floored.sqrt()
        magnitude = magnitude / magnitude.sum(dim=-2, keepdim=True)
        flux = functional.pad((magnitude[..., 1:] - magnitude[..., :-1]).square().sum(dim=-2).sqrt(), (1, 0))
        flatness = 10.0 * (torch.log10(floored).mean(dim=-2) - torch.log10(floored.mean(dim=-2)))
        entropy = -(share * share.log()).sum(dim=-2) / torch.log(torch.tensor(float(len(self.kilohertz))))
        slopes = self.slopes @ level
        low, high, below, above = self.bands
        alpha = 10.0 * torch.log10(floored[..., high, :].sum(dim=-2) / floored[..., low, :].sum(dim=-2))
        hammarberg = level[..., below, :].amax(dim=-2) - level[..., above, :].amax(dim=-2)
        rows = [centroid, spread, skewness, *rolloffs, flux, flatness, entropy, slopes[..., 0, :], slopes[..., 1, :]]
        return torch.stack([*rows, alpha, hammarberg], dim=-2)


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
        spectrum = torch.stft(
            flat, self.n_fft, self.hop, self.length, self.window, center=True, pad_mode="constant", return_complex=True
        )
        power = squared(spectrum)
        level = 10.0 * torch.log10(power.clamp(min=_FLOOR)).reshape(*f0.shape[:-1], -1, f0.shape[-1])
        first, second = (self._harmonic(level, f0 * number) for number in (1, 2))
        formant = level[..., self.formant, :].amax(dim=-2)
        rows = [jitter * both, shimmer * both, hnr * voiced, (first - second) * voiced, (first - formant) * voiced]
        return torch.stack(rows, dim=-2)

    def _harmonic(self, level: Tensor, hertz: Tensor) -> Tensor:
        """The highest level (…, frames) within a bin of ``hertz``, in (…, bins, frames)."""
        nearest = (hertz / self.spacing).round().long()
        places = torch.stack([(nearest + step).clamp(0, level.shape[-2] - 1) for step in (-1, 0, 1)], dim=-2)
        return level.gather(-2, places).amax(dim=-2)


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
