"""WavLM (Chen et al. 2022)."""

from __future__ import annotations

from parallel_ser.models.encoder.descriptor import encoder
from parallel_ser.models.encoder.plans import WAVLM

MODEL = encoder("wavlm", "WavLM from the waveform, weights of torchaudio's format (Chen et al. 2022)", WAVLM)
