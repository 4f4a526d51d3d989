"""The bandwidth of a recording: noise and voices whose upper end is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from parallel_ser.audio.quality import bandwidth

RATE = 16000


@pytest.mark.parametrize("cut", [2000.0, 3400.0, 5000.0])
def test_what_a_steep_filter_leaves_is_found(cut: float) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * RATE)
    low = sosfilt(butter(20, cut, fs=RATE, output="sos"), noise)
    assert cut <= bandwidth(low, RATE) <= 1.5 * cut
    assert bandwidth(0.001 * low, RATE) == bandwidth(low, RATE)  # how loud it is says nothing


def test_white_noise_fills_the_band_and_silence_has_none() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    assert bandwidth(noise, RATE) == RATE / 2
    assert bandwidth(np.zeros(RATE), RATE) == 0.0
    assert bandwidth(np.zeros(0), RATE) == 0.0
