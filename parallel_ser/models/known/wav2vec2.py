"""wav2vec 2.0 (Baevski et al. 2020)."""

from __future__ import annotations

from parallel_ser.models.encoder.descriptor import encoder
from parallel_ser.models.encoder.plans import WAV2VEC2

MODEL = encoder(
    "wav2vec2", "wav2vec 2.0 from the waveform, weights of torchaudio's format (Baevski et al. 2020)", WAV2VEC2
)
