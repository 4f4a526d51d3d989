"""What is optional says so when it is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from parallel_ser.audio.preprocess import normalise_level
from parallel_ser.errors import UserError


def test_lufs_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    signal = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    with pytest.raises(UserError, match=r"parallel-ser\[lufs\]"):
        normalise_level(signal, 16000, "lufs", -23.0)
