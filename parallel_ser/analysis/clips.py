"""Speech as files that a browser plays."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import soundfile


@lru_cache(maxsize=1)
def kind() -> str:
    """The media type of ``encoded``: MP3, or FLAC where libsndfile writes none."""
    return "audio/mpeg" if "MP3" in soundfile.available_formats() else "audio/flac"


def encoded(signal: np.ndarray, rate: int) -> bytes:
    """A signal (samples,) as a file; an MP3 takes about 4 kB a second."""
    file = io.BytesIO()
    if kind() == "audio/mpeg":
        soundfile.write(file, signal, rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8)
    else:
        soundfile.write(file, signal, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()
