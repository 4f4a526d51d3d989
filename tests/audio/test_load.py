from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.audio.load import load
from parallel_ser.corpora.content import UndecodableError, decode
from parallel_ser.errors import UserError


def sine(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_tone_stays_the_same_tone_in_every_container_and_rate(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, sine(440, rate), rate)
    signal = load(path, 16000)
    assert signal.dtype == np.float32
    assert signal.shape == (16000,)
    middle = slice(2000, 14000)
    loss = 1e-3 if suffix in ("wav", "flac") else 0.1
    np.testing.assert_allclose(signal[middle], sine(440, 16000)[middle], atol=loss)


def test_resampling_takes_out_what_would_alias(tmp_path: Path) -> None:
    path = tmp_path / "high.wav"
    soundfile.write(path, sine(12000, 48000), 48000)  # would fold to 4 kHz
    assert np.abs(load(path, 16000)[1000:-1000]).max() < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "many.wav"
    samples = np.stack([sine(440, 16000) * (c + 1) / channels for c in range(channels)], axis=1)
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    np.testing.assert_allclose(load(path, 16000), samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("subtype", "accuracy"), [("PCM_U8", 2**-7), ("PCM_24", 2**-23), ("ULAW", 0.02), ("DOUBLE", 0)]
)
def test_sample_formats_share_one_scale(tmp_path: Path, subtype: str, accuracy: float) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, sine(440, 16000), 16000, subtype=subtype)
    np.testing.assert_allclose(load(path, 16000), sine(440, 16000), atol=accuracy)


def test_silence_is_a_signal(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(1600), 16000)
    assert not load(path, 16000).any()


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_by_name(tmp_path: Path, rate: int, bad: float) -> None:
    path = tmp_path / "broken.wav"
    samples = sine(440, rate)
    samples[77] = bad
    soundfile.write(path, samples, rate, subtype="FLOAT")
    with pytest.raises(UserError, match=r"broken\.wav holds samples that are NaN or infinite"):
        load(path, 16000)
    assert not np.isfinite(decode(path)[0]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*No such file"),
        (b"", "is empty"),
        (b"<html>404 not found</html>" * 50, "cannot be decoded"),
        (bytes(1000), "cannot be decoded"),
    ],
)
@pytest.mark.parametrize("name", ["bad.wav", "bad.flac", "bad.mp3", "bad.raw"])
def test_what_is_no_audio_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UndecodableError, match=message) as caught:
        load(path, 16000)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UndecodableError, match="is a folder"):
        load(tmp_path, 16000)


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.wav"
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(UndecodableError, match=r"none\.wav holds no samples"):
        load(path, 16000)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, part: float) -> None:
    path = tmp_path / f"whole.{suffix}"
    noise = 0.3 * np.random.default_rng(0).standard_normal((32000, 2)).clip(-3, 3)
    soundfile.write(path, noise, 16000)
    assert len(decode(path)[0]) == 32000
    stump = tmp_path / f"stump.{suffix}"
    stump.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(UndecodableError, match=rf"stump\.{suffix}"):
        decode(stump)


def test_a_wav_from_a_pipe_does_not_know_its_size(tmp_path: Path) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, sine(440, 16000), 16000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff" * 4
    path.write_bytes(content)
    assert len(decode(path)[0]) == 16000


def test_chunks_behind_the_sound_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "tagged.wav"
    soundfile.write(path, sine(440, 16000), 16000)
    path.write_bytes(path.read_bytes() + b"LIST\x04\x00\x00\x00INFO")
    assert len(decode(path)[0]) == 16000
