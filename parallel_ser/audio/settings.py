"""Settings of the audio front end. Everything here is part of a cache entry's key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from parallel_ser.settings import Settings

Stream = Literal[
    "logmel",
    "mfcc",
    "mfcc_delta",
    "mfcc_delta2",
    "pitch",
    "voicing",
    "loudness",
    "intensity",
    "spectral",
    "quality",
    "waveform",
    "encoder",
]
Statistic = Literal["mean", "std", "jump", "slope", "min", "p5", "p25", "p50", "p75", "p95", "max"]


class AudioSettings(Settings):
    """From a file to a clean signal; each step is a switch.

    ``sample_rate``: Hz that every recording is brought to.
    ``denoise``: background noise removal; ``auto`` only where the estimated SNR is below ``denoise_below_db``.
    ``denoise_below_db``: dB of estimated SNR.
    ``silence``: ``edges`` trims before and after the speech, ``all`` removes long pauses too, ``off`` keeps all.
    ``silence_below_db``: silent is what lies more than so many dB under the utterance's loudest frames.
    ``level``: what is brought to ``level_target``: nothing, the peak, the mean power or the loudness.
    ``level_target``: dBFS for ``peak`` and ``rms``, LUFS for ``lufs``.
    ``min_seconds``: an utterance that is shorter is refused by name.
    ``max_seconds``: one that is longer likewise.
    """

    sample_rate: int = Field(16000, ge=8000, le=96000)
    denoise: Literal["off", "auto", "on"] = "auto"
    denoise_below_db: float = 10.0
    silence: Literal["off", "edges", "all"] = "edges"
    silence_below_db: float = Field(35.0, gt=0.0)
    level: Literal["off", "peak", "rms", "lufs"] = "off"
    level_target: float = Field(-23.0, le=0.0)
    min_seconds: float = Field(0.1, gt=0.0)
    max_seconds: float = Field(60.0, gt=0.0)


class EncoderSettings(Settings):
    """A pretrained speech encoder whose output is taken as it is, as vectors or as features of frames.

    ``name``: as ``model.name``.
    ``size``: as ``model.size``.
    ``weights``: as ``model.weights``.
    ``layer``: whose output is taken, 0 what enters the first; nothing is the mean of all.
    """

    name: Literal["wav2vec2", "hubert", "wavlm"] = "wavlm"
    size: str = "base"
    weights: Path | None = None
    layer: int | None = Field(None, ge=0, le=96)


class FeatureSettings(Settings):
    """Frames and what is measured in each.

    ``streams``: stacked as rows in this order; ``waveform``, the samples of each hop, stands alone, and so does
    ``encoder``, the output of a frozen speech encoder.
    ``window``: seconds of a frame.
    ``hop``: seconds from a frame to the next.
    ``window_shape``: what a frame's samples are weighted by.
    ``n_mels``: bands of the mel filters.
    ``n_mfcc``: cepstral coefficients.
    ``f_min``: Hz, the lower edge of the mel filters.
    ``f_max``: Hz, the upper edge, at most half of ``audio.sample_rate``.
    ``pitch_min``: Hz, the lowest pitch that is looked for.
    ``pitch_max``: Hz, the highest.
    ``encoder``: of that stream.
    """

    streams: tuple[Stream, ...] = Field(("logmel",), min_length=1)
    window: float = Field(0.025, gt=0.0, le=0.2)
    hop: float = Field(0.010, gt=0.0, le=0.1)
    window_shape: Literal["hann", "hamming", "rectangular"] = "hann"
    n_mels: int = Field(64, ge=8, le=256)
    n_mfcc: int = Field(20, ge=4, le=64)
    f_min: float = Field(50.0, ge=0.0)
    f_max: float = Field(8000.0, gt=0.0)
    pitch_min: float = Field(60.0, gt=0.0)
    pitch_max: float = Field(500.0, gt=0.0)
    encoder: EncoderSettings = EncoderSettings()

    @model_validator(mode="after")
    def _combination(self) -> FeatureSettings:
        if self.hop > self.window:
            raise ValueError(f"features.hop={self.hop} must not exceed features.window={self.window}")
        if self.f_min >= self.f_max:
            raise ValueError(f"features.f_min={self.f_min} must be below features.f_max={self.f_max}")
        if self.pitch_min >= self.pitch_max:
            raise ValueError("features.pitch_min must be below features.pitch_max")
        if self.n_mfcc > self.n_mels and any(stream.startswith("mfcc") for stream in self.streams):
            raise ValueError(f"features.n_mfcc={self.n_mfcc} must not exceed features.n_mels={self.n_mels}")
        if len(set(self.streams)) != len(self.streams):
            raise ValueError("features.streams names a stream twice")
        alone = [one for one in ("waveform", "encoder") if one in self.streams]
        if alone and len(self.streams) > 1:
            raise ValueError(
                f"features.streams has {alone[0]} beside others, and it stands alone: its frames lie otherwise"
            )
        return self


class ImageSettings(Settings):
    """What is taken of an utterance's spectrogram as a picture; see ``audio.image``.

    ``network``: of torchvision, trained on ImageNet.
    ``weights``: its file, ``.pth`` or ``.safetensors``.
    """

    network: Literal["alexnet", "vgg16", "resnet18"] = "alexnet"
    weights: Path | None = None

    @model_validator(mode="after")
    def _file(self) -> ImageSettings:
        if self.weights is not None:
            if not self.weights.is_file():
                raise ValueError(f"classical.image.weights={self.weights} is not a file")
            object.__setattr__(self, "weights", self.weights.absolute())
        return self


class FunctionalSettings(Settings):
    """What is said of an utterance's contours in one vector; see ``audio.functionals``.

    ``statistics``: of each contour over all frames.
    ``deltas``: how many times a contour's slope is taken as a further contour.
    ``voiced``: statistics over the voiced frames alone.
    ``dct``: coefficients of each contour's shape.
    ``segments``: equal parts of the utterance with a mean and a deviation each; 0 or 1 has none.
    ``measures``: the utterance's own, such as rhythm.
    """

    statistics: tuple[Statistic, ...] = Field(("mean", "std", "jump", "p5", "p25", "p50", "p75", "p95"), min_length=1)
    deltas: int = Field(1, ge=0, le=2)
    voiced: tuple[Statistic, ...] = ("mean", "std")
    dct: int = Field(6, ge=0, le=32)
    segments: int = Field(0, ge=0, le=10)
    measures: bool = True

    @model_validator(mode="after")
    def _combination(self) -> FunctionalSettings:
        for name in ("statistics", "voiced"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"functionals.{name} names a statistic twice")
        return self
