"""What is no recording is refused before it is opened, and what is too long before it is decoded."""

from __future__ import annotations

import os
import re
import socket
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.audio.cache import FeatureCache
from parallel_ser.audio.extract import Extractor
from parallel_ser.audio.load import load
from parallel_ser.audio.settings import AudioSettings, FeatureSettings
from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.check import check, inspect
from parallel_ser.corpora.content import OutOfMemoryError, OutOfPhaseError, UndecodableError, decode
from parallel_ser.errors import UserError

RATE = 16000


def sparse(path: Path, hours: float) -> Path:
    """A recording of silence that takes no room on the disk."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.setnframes(size := int(hours * 3600 * RATE))
        file.writeframes(b"")
    header = bytearray(path.read_bytes())
    header[4:8] = (36 + 2 * size).to_bytes(4, "little")
    header[40:44] = (2 * size).to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, 44 + 2 * size)
    assert soundfile.info(path).frames == size
    return path


def odd(folder: Path, kind: str) -> Path:
    """Something with a recording's name that is none."""
    path = folder / f"{kind}.wav"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(folder / "fifo")
            path.symlink_to(folder / "fifo")
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case "loop":
            path.symlink_to(path)
    return path


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "folder", "socket", "loop"])
def test_what_is_no_plain_file_is_refused_and_not_opened(tmp_path: Path, kind: str) -> None:
    """A pipe without a writer hung the commands for ever."""
    path = odd(tmp_path, kind)
    extractor = Extractor(AudioSettings(), FeatureSettings())
    for read in (decode, extractor.file, FeatureCache(tmp_path / "cache", extractor).get):
        with pytest.raises(UndecodableError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert kind == "loop" or f"is a {kind.removeprefix('link to a ')} and not a recording" in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_check_tells_of_it_among_others(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / "good.wav", np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    utterances = [
        Utterance(path, "x", "x-1", "unknown", "joy") for path in (odd(tmp_path, kind), tmp_path / "good.wav")
    ]
    report = check(Corpus("x", tuple(utterances), ("joy",)), tmp_path, 1)
    (problem,) = report.problems
    assert problem.kind == "undecodable"
    assert f"is a {kind}" in problem.detail


def never(*_: object, **__: object) -> None:
    raise AssertionError("decoded")


@pytest.mark.parametrize(("hours", "told"), [(0.2, "720"), (3.0, "10,800")])
def test_a_long_recording_is_refused_by_its_header(
    tmp_path: Path, hours: float, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sparse(tmp_path / "long.wav", hours)
    monkeypatch.setattr(soundfile.SoundFile, "read", never)
    with pytest.raises(UserError, match=re.escape(f"lasts {told} s, above audio.max_seconds=60:")):
        Extractor(AudioSettings(), FeatureSettings()).file(path)
    kind, detail = inspect(path).trouble or ("", "")
    assert kind == "too long"
    assert detail == f"lasts {hours * 60:.0f} minutes, above 10, and is not decoded; cut it into utterances"


def test_want_of_memory_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", full)
    with pytest.raises(OutOfMemoryError, match="GiB of memory to decode, which are not there: end other programs"):
        decode(tmp_path / "a.wav")


def test_want_of_memory_stops_a_run_and_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", full)
    cache = FeatureCache(tmp_path / "cache", Extractor(AudioSettings(), FeatureSettings()))
    with pytest.raises(OutOfMemoryError):
        cache.attempt([tmp_path / "a.wav"])
    with pytest.raises(OutOfMemoryError):
        inspect(tmp_path / "a.wav")


def voice(frames: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, frames)


@pytest.mark.parametrize(
    ("channels", "cancelled"),
    [
        (lambda x: [x, -x], True),
        (lambda x: [x, -0.98 * x], True),  # the mean is 40 dB below
        (lambda x: [x, -x + 1e-3 * voice()[::-1]], True),  # as a lossy coding leaves it
        (lambda x: [x, x], False),
        (lambda x: [x, 0 * x], False),
        (lambda x: [x, x[::-1]], False),  # nothing to do with each other
        (lambda x: [x, -0.5 * x], False),
        (lambda x: [x, -x, x], False),
        (lambda x: [x, -x, x, -x], True),
        (lambda x: [0 * x, 0 * x], False),  # that is silence
        (lambda x: [x], False),
    ],
)
def test_channels_that_cancel_are_told_by_their_cause(
    tmp_path: Path, channels: Callable[[np.ndarray], list[np.ndarray]], cancelled: bool
) -> None:
    path = tmp_path / "a.wav"
    samples = np.stack(channels(voice()), 1)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    kind = (inspect(path).trouble or ("",))[0]
    assert (kind == "out of phase") == cancelled
    if cancelled:
        with pytest.raises(OutOfPhaseError, match=r"the channels of .*a\.wav cancel each other"):
            Extractor(AudioSettings(), FeatureSettings()).file(path)
    else:
        np.testing.assert_allclose(load(path, RATE), samples.mean(1), atol=1e-6)


@pytest.mark.parametrize("peak", [1e37, 3.4e38, 1e7])
def test_samples_beyond_all_bounds_are_refused_by_the_files_name(tmp_path: Path, peak: float) -> None:
    path = tmp_path / "loud.wav"
    signal = np.random.default_rng(0).normal(0, 0.1, RATE)
    signal[100] = -peak
    soundfile.write(path, signal, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"loud\.wav holds samples up to"):
        load(path, RATE)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 32767.0, 1e5])
def test_any_other_scale_has_features_that_are_numbers(tmp_path: Path, scale: float) -> None:
    path = tmp_path / "scaled.wav"
    rng = np.random.default_rng(0)
    signal = np.repeat([0.0, 1.0, 0.0], RATE // 3) * rng.normal(0, 0.1, 3 * (RATE // 3)) + rng.normal(0, 1e-3, 15999)
    soundfile.write(path, scale * signal, RATE, subtype="FLOAT")
    extractor = Extractor(AudioSettings(), FeatureSettings())
    if scale < 1e-3:
        with pytest.raises(UserError, match="is silent"):
            extractor.file(path)
        return
    features = extractor.file(path)
    assert np.isfinite(features.frames).all()
    assert all(np.isfinite(value) for value in features.measures.values())
