"""An utterance's spectrogram as a picture, and what a network for pictures says of it, by the package torchvision.

After Araño, Gloor, Orsenigo & Vercellis 2021 (Cognitive Computation 13, 771-783), who leave open which network and
layer, the size of the picture and its colours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from parallel_ser.audio.extract import one_thread
from parallel_ser.audio.frames import window_samples
from parallel_ser.audio.settings import AudioSettings, ImageSettings
from parallel_ser.audio.vector import VectorExtractor
from parallel_ser.errors import UserError
from parallel_ser.system.digests import file_digest
from parallel_ser.weights_file import tensors

if TYPE_CHECKING:
    from torch import nn

SIDE = 224
"""Pixels of a picture's height and width, as the networks were trained with."""
BANDS, RANGE = 128, 80.0
"""Mel bands, and decibels from the loudest to black."""
_WINDOW, _HOP = 0.025, 0.010  # s
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, as torchvision has them


class ImageExtractor(VectorExtractor):
    """What the layer before the last of a network for pictures says of the spectrogram, one vector an utterance.

    Attributes:
        names: of the values.
        key: hash of all that decides the values.

    Raises:
        UserError: torchvision is missing, or the weights are not those of the network.
    """

    def __init__(self, audio: AudioSettings, settings: ImageSettings):
        self.audio, self.settings = audio, settings
        self._network = _network(settings.network, settings.weights)
        with torch.inference_mode():
            width = self._network(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
        self.names = [f"{settings.network}_{number}" for number in range(width)]
        assert settings.weights is not None
        digest = file_digest(settings.weights)
        described = f"image 1\n{audio.model_dump_json()}\n{settings.network} {digest}\n{SIDE} {BANDS} {RANGE}"
        self.key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Each process builds its own."""
        return ImageExtractor, (self.audio, self.settings)

    def values(self, signal: np.ndarray) -> np.ndarray:
        """See ``VectorExtractor``."""
        with one_thread(), torch.inference_mode():
            values: np.ndarray = self._network(picture(signal, self.audio.sample_rate)[None])[0].numpy()
        return values


def picture(signal: np.ndarray, rate: int) -> Tensor:
    """The mel spectrogram of a signal (samples,) in grey, ``(3, 224, 224)``, scaled as ImageNet's pictures are.

    Time goes to the right, low bands are at the top; the loudest band is white, 80 dB under it is black.
    """
    import librosa

    size, hop = window_samples(_WINDOW, rate), window_samples(_HOP, rate)
    mel = librosa.feature.melspectrogram(
        y=signal, sr=rate, n_fft=max(512, size), win_length=size, hop_length=hop, n_mels=BANDS
    )
    grey = librosa.power_to_db(mel, ref=np.max, top_db=RANGE) / RANGE + 1.0
    image = torch.from_numpy(grey.astype(np.float32))[None, None]
    image = torch.nn.functional.interpolate(image, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return (image[0].expand(3, -1, -1) - mean) / deviation


@lru_cache(maxsize=1)
def _network(name: str, weights: Path | None) -> nn.Module:
    """The network without its last layer."""
    from torch import nn

    if weights is None:
        raise UserError(
            f"classical.views=image needs the weights of {name}: classical.image.weights=FILE, as torchvision saves "
            f"them; torchvision.models.{name}(weights='DEFAULT') fetches them."
        )
    try:
        import torchvision
    except ImportError as error:
        raise UserError(
            "classical.views=image needs the package torchvision: pip install 'parallel-ser[image]'."
        ) from error
    except RuntimeError as error:  # as it says where its operators do not load
        raise UserError(f"torchvision does not go with torch {torch.__version__}: {error}.") from error
    network: nn.Module = getattr(torchvision.models, name)(weights=None)
    try:
        network.load_state_dict(tensors(weights))
    except ValueError as error:
        raise UserError(f"classical.image.weights={weights} holds no weights alone: {error}.") from error
    except RuntimeError as error:
        raise UserError(f"classical.image.weights={weights} are not those of {name}.") from error
    *_, (last, _) = network.named_modules()  # which says the classes of ImageNet
    network.set_submodule(last, nn.Identity())
    return network.eval()
