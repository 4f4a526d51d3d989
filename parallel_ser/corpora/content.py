"""What the samples of a recording say, whatever its file is called and however it is coded."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def audio_id(samples: NDArray[np.floating]) -> str:
    """A name for decoded audio: 32 hexadecimal digits, the same wherever the samples are the same.

    A WAV file and a FLAC copy of it share it, at 16 and at 24 bits, since float32 holds both exactly.

    Args:
        samples: ``(frames,)`` or ``(frames, channels)``; mono is the same in both shapes.
    """
    sound = np.asarray(samples, dtype="<f4")
    sound = sound[:, None] if sound.ndim == 1 else sound
    digest = hashlib.blake2b(repr(sound.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(sound + np.float32(0)).data)  # adding 0 makes -0.0 the same as 0.0
    return digest.hexdigest()


def clipped_share(samples: NDArray[np.floating], full_scale: float = 0.98, run: int = 3) -> float:
    """Share of samples, 0 to 1, that lie in flat tops.

    A flat top is ``run`` or more samples in a row at exactly the channel's own highest or lowest value, where that
    value is near full scale. A peak that merely touches full scale is one sample, at most two, and does not count; a
    recording that was clipped and then made a little quieter does. 0.98 takes in 8-bit and mu-law coding, whose
    highest values are 0.992 and 0.980.

    Args:
        samples: ``(frames,)`` or ``(frames, channels)``, full scale being 1.
        full_scale: the extremes from which on flat tops are counted.
        run: samples in a row that make a flat top.
    """
    if samples.size == 0:
        return 0.0
    flat = 0
    for channel in samples.reshape(len(samples), -1).T:
        for extreme in {channel.max(), channel.min()}:
            if abs(extreme) >= full_scale:
                edges = np.flatnonzero(np.diff(channel == extreme, prepend=False, append=False))
                lengths = edges[1::2] - edges[::2]
                flat += int(lengths[lengths >= run].sum())
    return flat / samples.size
