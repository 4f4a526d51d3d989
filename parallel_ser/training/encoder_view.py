"""What a frozen speech encoder makes of an utterance, as one vector for a classical system; computed once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.audio.extract import Extractor, Features, attempted
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.classical.settings import EncoderSettings
from parallel_ser.errors import UserError
from parallel_ser.models.chain import Chain, call, stored
from parallel_ser.models.encoder.blocks import frames as frames_of
from parallel_ser.models.registry import build, models
from parallel_ser.models.settings import ModelSettings
from parallel_ser.system.digests import file_digest
from parallel_ser.training import pretrained

VERSION = 1
CLASSES = 2  # of a head that is not computed


class EncoderExtractor:
    """Mean and deviation over frames of an encoder's layers, one vector an utterance.

    Attributes:
        names: of the values.
        key: hash of all that decides the values, the weights among them.

    Raises:
        UserError: there are no weights, or they are of another model.
    """

    def __init__(self, audio: AudioSettings, settings: EncoderSettings):
        self.audio, self.settings = audio, settings
        model = _model(settings)
        path = pretrained.file_of(model)
        if path is None:
            raise UserError(
                "classical.views=[encoder] needs pretrained weights: classical.encoder.weights= names a bundle of "
                "torchaudio, such as WAVLM_BASE, or a file."
            )
        described = models()[model.name]
        if audio.sample_rate != described.defaults["audio.sample_rate"]:
            raise UserError(
                f"classical.views=[encoder] needs audio.sample_rate={described.defaults['audio.sample_rate']}."
            )
        waveform = FeatureSettings(streams=("waveform",), hop=described.defaults["features.hop"])
        self.waveform = Extractor(audio, waveform)
        self._chain = chain = _loaded(model.name, model.size, path)
        layers = sum(name.startswith("layer_") for name, _ in chain.named_children())
        if settings.layer is not None and settings.layer > layers:
            raise UserError(
                f"classical.encoder.layer={settings.layer} is beyond the {layers} layers of {model.name} {model.size}."
            )
        width = chain.signature()["projection.projection.bias"][0]
        self.names = [f"{kind}{place}" for kind in ("mean", "std") for place in range(width)]
        facts = [VERSION, self.waveform.key, settings.model_dump_json(exclude={"weights"}), file_digest(path)]
        self.key = hashlib.blake2b("\n".join(map(str, facts)).encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Each process maps the weights by itself."""
        return EncoderExtractor, (self.audio, self.settings)

    def file(self, path: Path) -> Features:
        """The values of an audio file as ``frames`` (values, 1).

        Raises:
            UserError: as ``Extractor.file``.
        """
        made = self.waveform.file(path)
        x = torch.from_numpy(made.frames)[None, None]
        with torch.inference_mode():
            y = self._frames(x)[0]
            values = torch.cat([y.mean(0), y.std(0, correction=0)])
        return Features(values.numpy().astype(np.float32)[:, None], made.measures, made.audio_id, made.fingerprint)

    def files(self, paths: Sequence[Path]) -> Iterator[Features | UserError]:
        """What ``file`` gives of each, or the error that it raises."""
        return attempted(self.file, paths)

    def _frames(self, x: Tensor) -> Tensor:
        """Of a layer, or the mean of all: ``(1, frames, width)``."""
        beside = {"valid": torch.ones(1), "seed": torch.zeros(1, dtype=torch.int64)}
        y: Any = x
        last = "sum" if self.settings.layer is None else _after(self.settings.layer)
        for name, block in self._chain.named_children():
            y = call(block, y, beside)
            if name == last:
                break
        return frames_of(y if isinstance(y, Tensor) else y[0])


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
