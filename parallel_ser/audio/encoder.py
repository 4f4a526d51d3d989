"""Resemblyzer's speaker encoder (Apache-2.0; Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification").

Its weights are read from the package, with ``weights_only``; none of its code is imported, and it needs nothing that it
would bring along.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from parallel_ser.audio.load import resampled
from parallel_ser.errors import UserError

RATE = 16000
"""Hz, of what is listened to."""

_MELS, _N_FFT, _HOP = 40, 400, 160
_WINDOW, _STEP = 160, 80  # frames of a part, and between parts
_LEVEL = -30.0  # dB of full scale, to which quieter speech is brought


class SpeakerEncoder(nn.Module):
    """From speech to a vector that is alike for one voice.

    Raises:
        UserError: Resemblyzer is not installed, or holds other weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        spec = find_spec("resemblyzer")
        path = Path(spec.origin).parent / "pretrained.pt" if spec and spec.origin else None
        if path is None or not path.exists():
            raise UserError(
                "telling voices apart needs the weights in the package Resemblyzer: pip install --no-deps "
                "Resemblyzer==0.1.4, or give --rttm FILE, which says who speaks when."
            )
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        self.load_state_dict({name: value for name, value in state.items() if not name.startswith("similarity")})
        self.eval()

    def __call__(self, signal: np.ndarray, rate: int) -> np.ndarray:
        """Of speech (samples,) a vector (256,) of length 1: the mean over parts of 1.6 s."""
        import librosa

        heard = resampled(signal, rate, RATE)
        power = float(np.square(heard, dtype=np.float64).mean()) if len(heard) else 0.0
        gain = np.sqrt(10.0 ** (_LEVEL / 10.0) / max(power, 1e-12))
        heard = heard * np.float32(gain) if gain > 1.0 else heard
        heard = np.pad(heard, (0, max(0, _WINDOW * _HOP - len(heard))))
        mels = librosa.feature.melspectrogram(y=heard, sr=RATE, n_fft=_N_FFT, hop_length=_HOP, n_mels=_MELS)
        frames = torch.from_numpy(np.ascontiguousarray(mels.T, dtype=np.float32))
        with torch.inference_mode():
            _, (hidden, _) = self.lstm(frames.unfold(0, _WINDOW, _STEP).transpose(1, 2))
            parts = functional.normalize(self.linear(hidden[-1]).relu(), dim=1)
            return functional.normalize(parts.mean(dim=0), dim=0).numpy()
