"""The sizes of the encoders, as torchaudio has them; readable without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

RATE = 16_000
HOP = 320
"""Samples from one frame of an encoder to the next."""
SEEN = 400
"""Samples that a frame is made of."""
KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
GROUPS = ((0, 1), (2, 3), (4, 5, 6))
"""Convolutions of each block of the extractor."""


@dataclass(frozen=True)
class Plan:
    """An architecture, in the words of ``torchaudio.models.wav2vec2_model`` and ``wavlm_model``.

    Attributes:
        width: features a frame (``encoder_embed_dim``).
        layers: of the transformer.
        heads: of each attention.
        hidden: width of the feed-forward parts (``encoder_ff_interm_features``).
        layer_norm: the extractor is normalised behind each convolution over channels and the waveform before it; else
            behind the first alone, each channel over time (``extractor_mode``).
        conv_bias: of the extractor's convolutions.
        norm_first: transformer layers normalise what they read, not what they give (``encoder_layer_norm_first``).
        channels: of the extractor.
        kernel: frames of the positional convolution.
        groups: of it.
        buckets: of relative positions, of WavLM; 0 has none.
        distance: frames beyond which all are in the last bucket.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    layer_norm: bool = False
    conv_bias: bool = False
    norm_first: bool = False
    channels: int = 512
    kernel: int = 128
    groups: int = 16
    buckets: int = 0
    distance: int = 800

    @property
    def parts(self) -> int:
        """Into how many parts the channels of every block divide."""
        return gcd(self.heads, self.groups, self.channels, self.hidden)


BASE = Plan()
LARGE = Plan(width=1024, layers=24, heads=16, hidden=4096)
STABLE = replace(LARGE, layer_norm=True, norm_first=True)
HUGE = replace(STABLE, width=1280, layers=48, hidden=5120)
TINY = Plan(width=32, layers=2, heads=4, hidden=64, channels=16, kernel=16, groups=4)

WAV2VEC2 = {
    "base": BASE,
    "large": LARGE,
    "large_lv60k": replace(STABLE, conv_bias=True),
    "xlsr_300m": replace(STABLE, conv_bias=True),
    "xlsr_1b": replace(HUGE, conv_bias=True),
    "xlsr_2b": replace(HUGE, conv_bias=True, width=1920, hidden=7680),
    "tiny": TINY,
}
HUBERT = {
    "base": BASE,
    "large": STABLE,
    "xlarge": HUGE,
    "tiny": replace(TINY, layer_norm=True, norm_first=True),
}
WAVLM = {
    "base": replace(BASE, buckets=320),
    "large": replace(STABLE, buckets=320),
    "tiny": replace(TINY, buckets=32, distance=40),
}
