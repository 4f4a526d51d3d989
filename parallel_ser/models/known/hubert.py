"""HuBERT (Hsu et al. 2021)."""

from __future__ import annotations

from parallel_ser.models.encoder.descriptor import encoder
from parallel_ser.models.encoder.plans import HUBERT

MODEL = encoder("hubert", "HuBERT from the waveform, weights of torchaudio's format (Hsu et al. 2021)", HUBERT)
