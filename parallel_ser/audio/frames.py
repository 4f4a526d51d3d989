"""What is measured in every frame, as torch modules.

One convention for all streams: frame t is centred at sample t · hop, the signal is zero outside, and n samples make
1 + n // hop frames. Signals are (…, samples) in [-1, 1]; results are float32, (…, rows, frames) or (…, frames).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from parallel_ser.audio.pitch import Pitch, semitones, squared
from parallel_ser.audio.settings import AudioSettings, FeatureSettings, Stream
from parallel_ser.audio.spectral import QUALITY, SPECTRAL, Quality, Spectral, decibels
from parallel_ser.errors import UserError

WindowShape = Literal["hann", "hamming", "rectangular"]


def window_samples(window: float, sample_rate: int) -> int:
    """Whole samples, at least one, in ``window`` seconds."""
    return max(1, round(window * sample_rate))


def window_function(shape: WindowShape, length: int) -> Tensor:
    """Periodic window of ``length`` samples, as librosa uses it."""
    if shape == "rectangular":
        return torch.ones(length)
    return torch.hann_window(length) if shape == "hann" else torch.hamming_window(length)


class LogMel(nn.Module):
    """Log-mel spectrogram in dB: 10 log10 max(1e-10, mel filters · power spectrogram).

    Equal to ``librosa.power_to_db(librosa.feature.melspectrogram(..., pad_mode="constant"), top_db=None)``: Slaney's
    mel scale and area-normalised filters, and n_fft the next power of two from the window on. ``f_max`` counts as half
    the sample rate where that is lower.

    Raises:
        UserError: ``f_min`` is not below half the sample rate, or a filter is too narrow to hold a frequency bin.
    """

    def __init__(
        self,
        sample_rate: int,
        window: float = 0.025,
        hop: float = 0.010,
        n_mels: int = 64,
        f_min: float = 50.0,
        f_max: float = 8000.0,
        window_shape: WindowShape = "hann",
    ):
        super().__init__()
        self.length, self.hop = window_samples(window, sample_rate), window_samples(hop, sample_rate)
        self.n_fft = 1 << (self.length - 1).bit_length()
        f_max = min(f_max, sample_rate / 2)
        if f_min >= f_max:
            raise UserError(
                f"features.f_min={f_min:g} Hz must be below half of audio.sample_rate={sample_rate}; lower it."
            )
        filters = _mel_filters(self.n_fft, sample_rate, n_mels, f_min, f_max)
        if not filters.any(dim=0).all():
            held = (
                n
                for n in range(n_mels - 1, 0, -1)
                if _mel_filters(self.n_fft, sample_rate, n, f_min, f_max).any(0).all()
            )
            raise UserError(
                f"features.n_mels={n_mels} filters are too narrow for a window of {window:g} s at {sample_rate} Hz; "
                f"use at most {next(held, 1)}, or a longer features.window."
            )
        self.filters: Tensor
        self.window: Tensor
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", window_function(window_shape, self.length), persistent=False)

    def power(self, signal: Tensor) -> Tensor:
        """Power spectrum (…, bins, frames) of a signal (…, samples)."""
        flat = _checked(signal).reshape(-1, signal.shape[-1])
        spectrum = torch.stft(
            flat, self.n_fft, self.hop, self.length, self.window, center=True, pad_mode="constant", return_complex=True
        )
        power = squared(spectrum)
        return power.reshape(*signal.shape[:-1], *power.shape[1:])

    def bands(self, power: Tensor) -> Tensor:
        """Power spectrum (…, bins, frames) to log-mel bands (…, mels, frames)."""
        return decibels(self.filters.T @ power)

    def forward(self, signal: Tensor) -> Tensor:
        """Signal (…, samples) to (…, mels, frames)."""
        return self.bands(self.power(signal))


class Mfcc(nn.Module):
    """First ``n_mfcc`` coefficients of the orthonormal DCT-II of a log-mel spectrogram in dB, c0 included.

    Equal to ``librosa.feature.mfcc(S=logmel, n_mfcc=n_mfcc)``.
    """

    def __init__(self, n_mfcc: int = 20, n_mels: int = 64):
        super().__init__()
        self.dct: Tensor
        self.register_buffer(
            "dct", torchaudio.functional.create_dct(n_mfcc, n_mels, norm="ortho").T.contiguous(), persistent=False
        )

    def forward(self, logmel: Tensor) -> Tensor:
        """Log-mel (…, mels, frames) to (…, n_mfcc, frames)."""
        return self.dct @ logmel


class Delta(nn.Module):
    """Slope over ``width`` frames by HTK's regression formula (HTK Book 3.4, eq. 5.16), the ends repeated.

    Equal to ``librosa.feature.delta(x, width=width, mode="nearest")``; applied twice it gives ΔΔ.
    """

    def __init__(self, width: int = 9):
        super().__init__()
        steps = torch.arange(width, dtype=torch.float64) - width // 2
        self.weights: Tensor
        self.register_buffer("weights", steps / steps.square().sum(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features (…, frames), any number of frames, to the same shape, per frame."""
        half, count = len(self.weights) // 2, features.shape[-1]
        places = torch.arange(-half, count + half, device=features.device).clamp(0, count - 1)
        return features[..., places].unfold(-1, len(self.weights), 1) @ self.weights.to(features.dtype)


def intensity(signal: Tensor, sample_rate: int, window: float = 0.025, hop: float = 0.010) -> Tensor:
    """Level in dB re full scale: 10 log10 of the Hann-weighted mean square, not below -100.

    A sine of amplitude 1 has -3.01 dB, a square wave 0. The first and last frame lie half outside the signal.

    Args:
        signal: (…, samples).
        sample_rate: in Hz.
        window, hop: in seconds.

    Returns:
        (…, frames)

    Raises:
        UserError: the signal has no samples.
    """
    squares = _checked(signal).square()
    length, step = window_samples(window, sample_rate), window_samples(hop, sample_rate)
    weights = window_function("hann", length).to(squares.device)
    padded = functional.pad(squares, (length // 2, length - length // 2))
    return decibels(padded.unfold(-1, length, step) @ (weights / weights.sum()))


def loudness(signal: Tensor, sample_rate: int, window: float = 0.025, hop: float = 0.010) -> Tensor:
    """A-weighted level in dB re full scale: ``intensity`` after the frequency weighting A of IEC 61672-1.

    At 1 kHz it equals ``intensity``, at 100 Hz it is 19.1 dB lower. Arguments, result and errors as ``intensity``.
    """
    return intensity(_a_weighted(_checked(signal), sample_rate), sample_rate, window, hop)


class FrameFeatures(nn.Module):
    """The streams of ``features.streams``, stacked as rows in that order.

    Attributes:
        names: one per row: ``logmel0`` …, ``mfcc0`` …, ``mfcc0.delta`` …, ``mfcc0.delta2`` …, ``pitch`` (semitones re
            100 Hz, see ``pitch.semitones``), ``voicing`` (0 to 1), ``loudness`` and ``intensity`` (dB), and those of
            ``spectral.SPECTRAL`` and ``spectral.QUALITY``.

    Raises:
        UserError: a setting does not fit the sample rate.
    """

    def __init__(self, audio: AudioSettings, features: FeatureSettings):
        super().__init__()
        self.sample_rate, self.settings = audio.sample_rate, features
        self.names = [name for stream in features.streams for name in row_names(stream, features, audio.sample_rate)]
        wanted = set(features.streams)
        if any(stream.startswith(("logmel", "mfcc", "spectral")) for stream in wanted):
            self.logmel = LogMel(
                audio.sample_rate,
                features.window,
                features.hop,
                features.n_mels,
                features.f_min,
                features.f_max,
                features.window_shape,
            )
            self.mfcc = Mfcc(features.n_mfcc, features.n_mels)
            self.delta = Delta()
            self.spectral = Spectral(audio.sample_rate, self.logmel.n_fft)
        hop = window_samples(features.hop, audio.sample_rate)
        self.pitch = Pitch(audio.sample_rate, hop, features.pitch_min, features.pitch_max)
        if "quality" in wanted:
            self.quality = Quality(audio.sample_rate, hop)

    def forward(self, signal: Tensor, tracks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Measure a signal (…, samples) in [-1, 1].

        Args:
            signal: after preprocessing.
            tracks: ``intensity``, ``loudness``, ``f0`` (Hz, 0 unvoiced) and ``voicing`` (…, frames) as measured before
                silence and level were removed; what is not given is measured on ``signal``.

        Returns:
            (…, rows, 1 + samples // hop), float32; of the waveform (…, hop, frames), the last filled up with zeros.

        Raises:
            UserError: the signal has no samples.
            ValueError: a track has another number of frames than the signal.
        """
        signal = _checked(signal)
        known: dict[str, Tensor] = {name: track.float()[..., None, :] for name, track in (tracks or {}).items()}
        frames = 1 + signal.shape[-1] // window_samples(self.settings.hop, self.sample_rate)
        for name, track in known.items():
            if track.shape[-1] != frames:
                raise ValueError(f"track {name!r} has {track.shape[-1]} frames, but the signal {frames}")
        return torch.cat([self._stream(stream, signal, known) for stream in self.settings.streams], dim=-2)

    def _stream(self, stream: str, signal: Tensor, known: dict[str, Tensor]) -> Tensor:
        """Rows of one stream; what several streams need is measured once and kept in ``known``."""
        if stream not in known:
            match stream:
                case "power":
                    known[stream] = self.logmel.power(signal)
                case "logmel":
                    known[stream] = self.logmel.bands(self._stream("power", signal, known))
                case "spectral":
                    known[stream] = self.spectral(self._stream("power", signal, known))
                case "mfcc":
                    known[stream] = self.mfcc(self._stream("logmel", signal, known))
                case "mfcc_delta":
                    known[stream] = self.delta(self._stream("mfcc", signal, known))
                case "mfcc_delta2":
                    known[stream] = self.delta(self._stream("mfcc_delta", signal, known))
                case "f0" | "voicing":
                    f0, voicing = self.pitch(signal)
                    known["f0"], known["voicing"] = f0[..., None, :], voicing[..., None, :]
                case "waveform":
                    known[stream] = hops(signal, window_samples(self.settings.hop, self.sample_rate))
                case "pitch":
                    known[stream] = semitones(self._stream("f0", signal, known))
                case "quality":
                    f0, voicing = (self._stream(track, signal, known)[..., 0, :] for track in ("f0", "voicing"))
                    known[stream] = self.quality(signal, f0, voicing)
                case "loudness" | "intensity":
                    level = loudness if stream == "loudness" else intensity
                    known[stream] = level(signal, self.sample_rate, self.settings.window, self.settings.hop)[
                        ..., None, :
                    ]
        return known[stream]


def hops(signal: Tensor, hop: int) -> Tensor:
    """The samples of each hop, (…, hop, frames); the last is filled up with zeros.

    >>> hops(torch.arange(5.0), 2).tolist()
    [[0.0, 2.0, 4.0], [1.0, 3.0, 0.0]]
    """
    filled = functional.pad(signal, (0, -signal.shape[-1] % hop))
    return filled.unflatten(-1, (-1, hop)).transpose(-2, -1)


def row_names(stream: Stream, features: FeatureSettings, sample_rate: int) -> list[str]:
    """Names of a stream's rows, in their order."""
    match stream:
        case "logmel":
            return [f"logmel{i}" for i in range(features.n_mels)]
        case "mfcc" | "mfcc_delta" | "mfcc_delta2":
            suffix = stream.removeprefix("mfcc").replace("_", ".")
            return [f"mfcc{i}{suffix}" for i in range(features.n_mfcc)]
        case "spectral":
            return list(SPECTRAL)
        case "quality":
            return list(QUALITY)
        case "waveform":
            return [f"waveform{i}" for i in range(window_samples(features.hop, sample_rate))]
    return [stream]


def _checked(signal: Tensor) -> Tensor:
    if signal.shape[-1] == 0:
        raise UserError("an audio signal with no samples has no features; give at least one sample.")
    return signal.float()


def _mel_filters(n_fft: int, sample_rate: int, n_mels: int, f_min: float, f_max: float) -> Tensor:
    """(n_fft / 2 + 1, n_mels)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty filter; the caller refuses it by name
        return torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, f_min, f_max, n_mels, sample_rate, norm="slaney", mel_scale="slaney"
        )


def _a_weighted(signal: Tensor, sample_rate: int) -> Tensor:
    """Signal (…, samples) through the A-weighting's magnitude response (IEC 61672-1, eq. E.6), without delay."""
    from scipy import fft  # on long signals it took a third of torch's time

    samples = signal.shape[-1]
    # Zeros behind the signal take up the filter's ringing (its lowest pole is at 20.6 Hz). 4, 5, 6 or 7 times a power
    # of two are lengths that are quick to transform, and few enough for their gains to be kept.
    least = samples + sample_rate // 10
    power = 1 << max(0, least.bit_length() - 3)
    length = next(part * power for part in (4, 5, 6, 7, 8) if part * power >= least)
    weighted = fft.irfft(fft.rfft(signal.cpu().numpy(), length) * _a_gain(length, sample_rate).numpy(), length)
    return torch.from_numpy(weighted[..., :samples]).to(signal.device)


@lru_cache(maxsize=64)
def _a_gain(length: int, sample_rate: int) -> Tensor:
    """The A-weighting's magnitude at the frequencies of a transform of ``length`` samples."""
    squared = torch.fft.rfftfreq(length, 1.0 / sample_rate).square()

    def response(square: Tensor) -> Tensor:
        low, high = 20.598997**2, 12194.217**2
        middle = ((square + 107.65265**2) * (square + 737.86223**2)).sqrt()
        return high * square**2 / ((square + low) * middle * (square + high))

    return response(squared) / response(squared.new_tensor(1000.0**2))
