"""A recording in blocks is the recording."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.audio.load import load
from parallel_ser.audio.stream import mono_blocks
from parallel_ser.errors import UserError


def written(path: Path, rate: int, channels: int = 2) -> Path:
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal((3 * rate + 17, channels)), rate)
    return path


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 20.0])
def test_blocks_joined_are_what_load_gives(tmp_path: Path, rate: int, seconds: float) -> None:
    path = written(tmp_path / "a.flac", rate)
    joined = np.concatenate(list(mono_blocks(path, 16000, seconds)))
    whole = load(path, 16000)
    assert abs(len(joined) - len(whole)) <= 1
    count = min(len(joined), len(whole))
    np.testing.assert_allclose(joined[:count], whole[:count], atol=2e-4)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_other_formats_go_through_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    source = written(tmp_path / "a.wav", 16000, 1)
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c:a", "alac", path], check=True)
    blocks = list(mono_blocks(path, 16000, 0.5))
    assert [len(one) for one in blocks[:3]] == [8000] * 3
    np.testing.assert_allclose(np.concatenate(blocks), load(path, 16000))


def test_what_breaks_off_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", 16000)
    path.write_bytes(path.read_bytes()[:50000])
    with pytest.raises(UserError, match="truncated"):
        list(mono_blocks(path, 16000))
    with pytest.raises(UserError, match="cannot read"):
        list(mono_blocks(tmp_path / "none.wav", 16000))
