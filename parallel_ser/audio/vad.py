"""Voice activity: the probability that each 32 ms of a recording hold speech, block after block.

``Silero`` is the network of silero-vad 6 (MIT), whose weights are read as safetensors from the package: none of its
code is imported, and nothing is downloaded. ``Energy`` needs no package and takes any sound for speech.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from parallel_ser.audio.quality import decibels
from parallel_ser.errors import UserError

RATE = 16000
"""Hz, of what is listened to."""
FRAME = 512
"""Samples of a frame: 32 ms."""
Method = Literal["silero", "energy"]

_CONTEXT = 64  # samples before a frame that are heard with it
_WEIGHTS = "silero_vad_16k.safetensors"
_TARGET, _MOST_GAIN, _FALL = -18.0, 40.0, 2.0  # dB of full scale, dB, dB a second
_MEMORY = 1900  # frames, a minute: in which ``Energy`` looks for the loudest and the quietest
_BELOW_LOUDEST, _ABOVE_QUIETEST = 30.0, 6.0  # dB


class VoiceActivity(Protocol):
    """What finds speech in blocks that follow each other."""

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Of each frame that is whole by now the probability that it is speech; after the last block of all."""


class _Frames:
    """Whole frames of blocks that follow each other."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def __call__(self, block: np.ndarray, last: bool) -> np.ndarray:
        """(frames, FRAME); the last is filled up with zeros."""
        joined = np.concatenate([self._rest, block])
        if last and len(joined) % FRAME:
            joined = np.pad(joined, (0, FRAME - len(joined) % FRAME))
        count = len(joined) // FRAME
        self._rest = joined[count * FRAME :].copy()
        return joined[: count * FRAME].reshape(count, FRAME)


class Silero(nn.Module):
    """The network of silero-vad 6 for 16 kHz."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, frames: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Frames that follow each other with their context, (frames, 576), to probabilities (frames,) and a state."""
        x = self.stft_conv(functional.pad(frames, (0, 64), "reflect")[:, None])
        x = (x[:, :129].square() + x[:, 129:].square()).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = layer(x).relu()
        hidden, state = self.lstm(x[..., 0][None], state)
        found: Tensor = self.final_conv(hidden[0].relu()[..., None]).sigmoid()[:, 0, 0]
        return found, state


class SileroActivity:
    """``Silero`` over blocks.

    Raises:
        UserError: silero-vad is not installed, or a release of it that holds other weights.
    """

    def __init__(self) -> None:
        self._network = _silero()
        self._frames = _Frames()
        self._context = np.zeros(_CONTEXT, np.float32)
        self._state: tuple[Tensor, Tensor] | None = None
        self._peak = _TARGET  # level in dB of the loudest frame of late, which falls

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """See ``VoiceActivity``."""
        frames = self._frames(block, last)
        if not len(frames):
            return np.zeros(0)
        before = np.concatenate([self._context[None], frames[:-1, -_CONTEXT:]])
        self._context = frames[-1, -_CONTEXT:]
        heard = torch.from_numpy(np.concatenate([before, frames], axis=1) * self._gains(frames)[:, None])
        with torch.inference_mode():
            found, self._state = self._network(heard, self._state)
        return found.numpy().astype(np.float64)

    def _gains(self, frames: np.ndarray) -> np.ndarray:
        """Of each frame: quiet recordings are amplified, for the network hears little in them."""
        gains = np.empty(len(frames), np.float32)
        for place, level in enumerate(decibels(frames.astype(np.float64).var(axis=1)).tolist()):
            self._peak = max(level, self._peak - _FALL * FRAME / RATE)
            gains[place] = 10.0 ** (min(max(_TARGET - self._peak, 0.0), _MOST_GAIN) / 20.0)
        return gains


class Energy:
    """Speech is what lies within 30 dB of the loudest frame of the last minute, and 6 dB over the quietest tenth."""

    def __init__(self) -> None:
        self._frames = _Frames()
        self._levels = np.zeros(0)

    def __call__(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """See ``VoiceActivity``."""
        frames = self._frames(block, last)
        if not len(frames):
            return np.zeros(0)
        own = decibels(frames.astype(np.float64).var(axis=1))
        self._levels = np.concatenate([self._levels, own])[-_MEMORY - len(own) :]
        heard = self._levels[self._levels > -90.0]
        if not len(heard):
            return np.zeros(len(own))
        least = max(heard.max() - _BELOW_LOUDEST, float(np.percentile(heard, 10)) + _ABOVE_QUIETEST, -80.0)
        return (own >= least).astype(np.float64)


def voice_activity(method: Method) -> VoiceActivity:
    """What finds speech, at its beginning."""
    return Energy() if method == "energy" else SileroActivity()


def _silero() -> Silero:
    from safetensors.torch import load_file

    spec = find_spec("silero_vad")  # found, not imported: importing it sets torch's threads
    path = Path(spec.origin).parent / "data" / _WEIGHTS if spec and spec.origin else None
    if path is None or not path.exists():
        raise UserError(
            "finding speech needs the package silero-vad 6: pip install 'parallel-ser[analyze]', or use --vad energy, "
            "which takes any sound for speech."
        )
    weights = {
        name.replace("lstm_cell.", "lstm.") + ("_l0" if name.startswith("lstm_cell") else ""): tensor
        for name, tensor in load_file(path).items()
    }
    network = Silero()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            "the installed silero-vad holds other weights than those of release 6: pip install 'silero-vad>=6.2,<7'."
        ) from error
    return network.eval()
