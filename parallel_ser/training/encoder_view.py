"""What a frozen speech encoder makes of an utterance, computed once and kept.

As one vector for a classical system (``classical.views=[encoder]``), or frame by frame as the features of a network
(``features.streams=[encoder]``).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.audio.extract import Extractor, Features, attempted
from parallel_ser.audio.settings import AudioSettings, EncoderSettings, FeatureSettings
from parallel_ser.errors import UserError
from parallel_ser.models.chain import Chain, call, stored
from parallel_ser.models.encoder.blocks import frames as frames_of
from parallel_ser.models.registry import build, models, outline
from parallel_ser.models.settings import ModelSettings
from parallel_ser.system.digests import file_digest
from parallel_ser.training import pretrained

VERSION = 1
CLASSES = 2  # of a head that is not computed


class FrozenEncoder(ABC):
    """An encoder's layers, of files and signals.

    Attributes:
        digest: of the weights' file.
        width: values of a frame.
        key: hash of all that decides the values, the weights among them.

    Raises:
        UserError: there are no weights, or they are of another model.
    """

    kind: str
    setting: str
    group: str

    def __init__(self, audio: AudioSettings, settings: EncoderSettings):
        self.audio, self.settings = audio, settings
        self.model = model = _model(settings)
        path = pretrained.file_of(model)
        if path is None:
            raise UserError(
                f"{self.setting} needs pretrained weights: {self.group}.weights= names a bundle of torchaudio, such as "
                "WAVLM_BASE, or a file."
            )
        described = models()[model.name]
        if audio.sample_rate != described.defaults["audio.sample_rate"]:
            raise UserError(f"{self.setting} needs audio.sample_rate={described.defaults['audio.sample_rate']}.")
        waveform = FeatureSettings(streams=("waveform",), hop=described.defaults["features.hop"])
        self.path, self.waveform = path, Extractor(audio, waveform)
        shapes = outline(model, described.waveform, CLASSES)
        layers = sum(name.startswith("layer_") for name, _ in shapes.named_children())
        if settings.layer is not None and settings.layer > layers:
            raise UserError(
                f"{self.group}.layer={settings.layer} is beyond the {layers} layers of {model.name} {model.size}."
            )
        pretrained.read(path, shapes, model)
        self.width: int = shapes.signature()["projection.projection.bias"][0]
        self.digest = file_digest(path)
        facts = [VERSION, self.waveform.key, settings.model_dump_json(exclude={"weights"}), self.digest]
        facts += [self.kind] if self.kind else []
        self.key = hashlib.blake2b("\n".join(map(str, facts)).encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Each process maps the weights by itself."""
        return type(self), (self.audio, self.settings)

    @abstractmethod
    def values(self, frames: Tensor) -> Tensor:
        """What is kept of the encoder's output ``(frames, width)``."""

    def file(self, path: Path) -> Features:
        """The values of an audio file.

        Raises:
            UserError: as ``Extractor.file``.
        """
        return self._of(self.waveform.file(path))

    def files(self, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        """What ``file`` gives of each, or the error that it raises."""
        return attempted(self.file, paths)

    def signals(self, signals: Sequence[np.ndarray]) -> Iterator[Features | UserError]:
        """The same of mono signals (samples,) at ``audio.sample_rate``."""
        return (one if isinstance(one, UserError) else self._of(one) for one in self.waveform.signals(signals))

    def _of(self, made: Features) -> Features:
        x = torch.from_numpy(made.frames)[None, None]
        with torch.inference_mode():
            values = self.values(self._frames(x)[0])
        return replace(made, frames=np.ascontiguousarray(values.numpy(), np.float32))

    def _frames(self, x: Tensor) -> Tensor:
        """Of a layer, or the mean of all: ``(1, frames, width)``."""
        beside = {"valid": torch.ones(1), "seed": torch.zeros(1, dtype=torch.int64)}
        y: Any = x
        last = "sum" if self.settings.layer is None else _after(self.settings.layer)
        for name, block in _loaded(self.model.name, self.model.size, self.path).named_children():
            y = call(block, y, beside)
            if name == last:
                break
        return frames_of(y if isinstance(y, Tensor) else y[0])


class EncoderExtractor(FrozenEncoder):
    """Mean and deviation over frames, one vector ``(values, 1)`` an utterance, for the view ``encoder``.

    Attributes:
        names: of the values.
    """

    kind, setting, group = "", "classical.views=[encoder]", "classical.encoder"

    @property
    def names(self) -> list[str]:
        """Of the values."""
        return [f"{kind}{place}" for kind in ("mean", "std") for place in range(self.width)]

    def values(self, frames: Tensor) -> Tensor:
        """See ``FrozenEncoder``."""
        return torch.cat([frames.mean(0), frames.std(0, correction=0)])[:, None]


class EncoderFrames(FrozenEncoder):
    """Every frame ``(width, frames)``, for ``features.streams=[encoder]``.

    Attributes:
        names: of the rows.
    """

    STREAM = "encoder"
    kind, setting, group = "frames", "features.streams=[encoder]", "features.encoder"

    @property
    def names(self) -> list[str]:
        """Of the rows."""
        return [f"encoder{place}" for place in range(self.width)]

    def values(self, frames: Tensor) -> Tensor:
        """See ``FrozenEncoder``."""
        return frames.T


AnyFeatures = Extractor | EncoderFrames
"""What makes the features of a run."""


def extractor_of(audio: AudioSettings, features: FeatureSettings) -> AnyFeatures:
    """What makes the features that a run's settings describe.

    Raises:
        UserError: the features do not fit the sample rate, or an encoder's weights are missing.
    """
    encoded = features.streams == (EncoderFrames.STREAM,)
    return EncoderFrames(audio, features.encoder) if encoded else Extractor(audio, features)


def encoder_digest(extractor: AnyFeatures) -> str:
    """Of the weights that make features, where an encoder does; else empty."""
    return extractor.digest if isinstance(extractor, EncoderFrames) else ""


def _after(layer: int) -> str:
    """The block that gives a layer's output; 0 is what enters the first."""
    from parallel_ser.models.encoder.descriptor import layer_name

    return layer_name(layer - 1) if layer else "positions"


def _model(settings: EncoderSettings) -> ModelSettings:
    given = {"name": settings.name, "weights": settings.weights}
    return ModelSettings.model_validate({**given, **({"size": settings.size} if settings.size else {})})


@lru_cache(maxsize=1)
def _loaded(name: str, size: str, path: Path) -> Chain:
    """The encoder with its weights; loading it costs more than a file, so a process keeps it."""
    settings = ModelSettings.model_validate({"name": name, "size": size})
    chain = build(settings, models()[name].waveform, CLASSES, seed=0).eval()
    chain.load({**stored(chain), **pretrained.read(path, chain, settings)})
    return chain
